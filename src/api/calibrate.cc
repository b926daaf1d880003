#include "cria/calibrate.h"

#include <algorithm>
#include <cmath>

#include "api/calibration_run.h"
#include "api/calibration_text.h"
#include "api/open_tokenizer.h"
#include "base/result.h"
#include "cria/engine.h"
#include "cria/toolchain.h"
#include "format/statistics/merge_statistics.h"
#include "model/checkpoint.h"
#include "model/fingerprint.h"
#include "model/resolve.h"

namespace cria {
namespace {

Result<CalibrateReport> describe_file(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(const StatisticsFile file, StatisticsFile::open(path));
  CalibrateReport report;
  report.n_windows = file.header().n_windows();
  report.n_tokens = file.header().n_tokens();
  report.has_hessian = file.header().has_hessian;
  report.file_bytes = file.view().layout().file_bytes;
  const auto n_tokens = static_cast<double>(report.n_tokens);
  for (std::size_t i = 0; i < file.header().inputs.size(); ++i) {
    const StatisticsInput& input = file.header().inputs[i];
    CalibratedInput described{.name = input.name, .n_cols = input.n_cols};
    const std::span<const FixedSum> squares = file.view().squares(i);
    for (std::size_t c = 0; c < squares.size(); ++c) {
      const double mean_square = to_double(squares[c]) / n_tokens;
      described.mean_square += mean_square / static_cast<double>(input.n_cols);
      if (mean_square <= described.largest_mean_square) continue;
      described.largest_mean_square = mean_square;
      described.largest_column = static_cast<std::int64_t>(c);
    }
    report.inputs.push_back(std::move(described));
  }
  return report;
}

// The windows of all texts that this run sees.
struct ChosenWindows {
  std::vector<std::vector<std::int32_t>> windows;
  std::vector<TextRange> ranges;  // joined
};

Status check_options(const CalibrateOptions& options) {
  if (options.texts.empty()) return invalid_argument("calibrate: no text");
  if (options.n_ctx < 2) {
    return invalid_argument("calibrate: a window of {} tokens, at least 2 are needed",
                            options.n_ctx);
  }
  if (options.first_window < 0 || options.max_windows < 0) {
    return invalid_argument("calibrate: windows from {}, {} of them", options.first_window,
                            options.max_windows);
  }
  return {};
}

Result<ChosenWindows> choose_windows(const CalibrateOptions& options, const Tokenizer& tokenizer) {
  ChosenWindows chosen;
  std::int64_t n_before = 0;  // windows of earlier texts
  const std::int64_t first = options.first_window;
  const std::int64_t last = options.max_windows > 0 ? first + options.max_windows
                                                    : std::numeric_limits<std::int64_t>::max();
  for (const CalibrationText& text : options.texts) {
    CRIA_ASSIGN_OR_RETURN(const std::vector<std::int32_t> ids, calibration_ids(tokenizer, text));
    const std::int64_t n_windows = std::ssize(ids) / options.n_ctx;
    if (n_windows == 0) {
      return bad_input("{}: the text has {} tokens, one window needs {} (a smaller -c helps)",
                       text.name, ids.size(), options.n_ctx);
    }
    const std::int64_t from = std::clamp<std::int64_t>(first - n_before, 0, n_windows);
    const std::int64_t to = std::clamp<std::int64_t>(last - n_before, from, n_windows);
    if (to > from) chosen.ranges.push_back({ids_hash(ids), from, to - from});
    for (std::int64_t w = from; w < to; ++w) {
      const auto begin = ids.begin() + w * options.n_ctx;
      chosen.windows.emplace_back(begin, begin + options.n_ctx);
      if (tokenizer.bos_id() >= 0) chosen.windows.back()[0] = tokenizer.bos_id();
    }
    n_before += n_windows;
  }
  if (chosen.windows.empty()) {
    return bad_input("the text has {} windows of {} tokens, none is left from window {} on",
                     n_before, options.n_ctx, first);
  }
  CRIA_ASSIGN_OR_RETURN(chosen.ranges, join_ranges(std::move(chosen.ranges)));
  return chosen;
}

// What a run needs of the checkpoint, which is closed then: of a large one much would stay
// resident.
struct CalibratedModel {
  Tokenizer tokenizer;
  ModelFingerprint fingerprint;
  std::vector<LinearInputShape> shapes;
};

Result<CalibratedModel> look_at_model(const CalibrateOptions& options) {
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(options.model));
  CRIA_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                        open_checkpoint(path, {.tokenizer_path = options.tokenizer_path}));
  CRIA_ASSIGN_OR_RETURN(Tokenizer tokenizer, checkpoint_tokenizer(*checkpoint, path));
  return CalibratedModel{std::move(tokenizer), fingerprint_of(*checkpoint),
                         linear_inputs(checkpoint->config())};
}

}  // namespace

Result<CalibrateReport> calibrate(const CalibrateOptions& options, const std::string& out_path) {
  CRIA_RETURN_IF_ERROR(check_options(options));
  CRIA_ASSIGN_OR_RETURN(const CalibratedModel model, look_at_model(options));
  CRIA_ASSIGN_OR_RETURN(const ChosenWindows chosen, choose_windows(options, model.tokenizer));

  StatisticsHeader header;
  header.model = model.fingerprint;
  header.window_tokens = options.n_ctx;
  header.has_hessian = options.with_hessian;
  header.texts = chosen.ranges;
  for (const LinearInputShape& shape : model.shapes)
    header.inputs.push_back({shape.name, shape.n_cols});
  // Before the model is compiled, which takes longer than finding out that the run cannot go on.
  CRIA_ASSIGN_OR_RETURN(CalibrationState state, CalibrationState::open(out_path, header));

  CalibrationRun run{
      .windows = chosen.windows, .shapes = model.shapes, .progress = options.progress};
  const std::int64_t n_resumed = state.position().first_window;
  if (n_resumed < std::ssize(chosen.windows)) {
    CRIA_ASSIGN_OR_RETURN(const PreparedModel prepared,
                          prepare_model({.source = options.model,
                                         .tokenizer_path = options.tokenizer_path,
                                         .n_threads = options.n_threads,
                                         .progress = options.progress},
                                        options.cache_dir));
    CRIA_RETURN_IF_ERROR(run_calibration(run, prepared.pte_path, options.n_threads, state));
  }
  CRIA_RETURN_IF_ERROR(state.finish(options.progress));
  CRIA_ASSIGN_OR_RETURN(CalibrateReport report, describe_file(out_path));
  const CalibrationPosition& position = state.position();
  report.n_windows_resumed = n_resumed;
  if (position.n_scored > 0) {
    report.perplexity =
        std::exp(position.negative_log_likelihood / static_cast<double>(position.n_scored));
  }
  return report;
}

Result<CalibrateReport> merge_calibrations(std::span<const std::string> paths,
                                           const std::string& out_path, const Progress& progress) {
  std::vector<StatisticsFile> parts;
  for (const std::string& path : paths) {
    CRIA_ASSIGN_OR_RETURN(StatisticsFile part, StatisticsFile::open(path));
    parts.push_back(std::move(part));
  }
  CRIA_RETURN_IF_ERROR(merge_statistics(parts, out_path, progress));
  return describe_file(out_path);
}

}  // namespace cria

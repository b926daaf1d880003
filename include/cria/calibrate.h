// What the inputs of a model's linears look like over a text, for quantizers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cria/progress.h"
#include "cria/status.h"

namespace cria {

struct CalibrationText {
  std::string name;  // for errors: the path
  std::string content;
  // One JSON object a line: {"messages": [{"role", "content"}, ...]}, in the chat template, with
  // "expected" (the answer), "date" and "tools" where given; or {"text": "..."}. Else plain text.
  bool json_lines = false;
};

struct CalibrateOptions {
  std::string model;  // any checkpoint that can be compiled, or an id in the Hugging Face cache
  std::string tokenizer_path;
  std::string cache_dir;  // of compiled models
  std::vector<CalibrationText> texts;
  // Tokens a window. Each text is cut into windows that do not overlap; what is left over is not
  // used. Each starts with the begin token in place of its first token.
  std::int64_t n_ctx = 512;
  std::int64_t first_window = 0;  // of the windows of all texts, in order
  std::int64_t max_windows = 0;   // 0: all from the first on
  bool with_hessian = true;
  int n_threads = 0;  // 0: all cores this process may use
  // Steps "quantize" (when the model is compiled first), "calibrate" (tokens), "checksum" (bytes).
  Progress progress;
};

struct CalibratedInput {
  std::string name;  // "blk.3.ffn_in"
  std::int64_t n_cols = 0;
  double mean_square = 0;          // over tokens and columns
  double largest_mean_square = 0;  // of a column
  std::int64_t largest_column = 0;
};

struct CalibrateReport {
  std::int64_t n_windows = 0;
  std::int64_t n_tokens = 0;
  std::int64_t n_windows_resumed = 0;  // of them, by an earlier run that was interrupted
  bool has_hessian = false;
  std::uint64_t file_bytes = 0;
  double perplexity = 0;  // of the text, the first token of each window aside; 0 after merging
  std::vector<CalibratedInput> inputs;
};

// Writes a file of statistics (docs/statistics.md) to `out_path`. Until it is complete there is
// only
// "<out_path>.calibrating", from which the same call goes on after an interruption of any kind; a
// call for another model, text or windows is refused with kInvalidArgument. kCancelled: the
// progress said so. kBadInput: a text that is shorter than one window, activations that cannot be
// held. The bytes depend on model, texts and windows only.
Result<CalibrateReport> calibrate(const CalibrateOptions& options, const std::string& out_path);

// Adds up statistics of different windows: the same bytes as one run over all of them. All or
// nothing. Step "merge", in bytes.
Result<CalibrateReport> merge_calibrations(std::span<const std::string> paths,
                                           const std::string& out_path, const Progress& progress);

}  // namespace cria

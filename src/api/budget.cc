#include "cria/budget.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "api/compile_path.h"
#include "api/device_target.h"
#include "api/open_tokenizer.h"
#include "api/sensitivity.h"
#include "base/aligned_buffer.h"
#include "base/result.h"
#include "format/pte/pte_writer.h"
#include "model/checkpoint.h"
#include "model/resolve.h"
#include "quantize/allocate.h"
#include "quantize/recipe_file.h"
#include "tokenizer/tokenizer.h"

namespace cria {
namespace {

// What a matrix may become. Two bits are for those who ask for them by name.
constexpr Encoding kChoices[] = {Encoding::kQ3K, Encoding::kQ4NlK, Encoding::kQ5, Encoding::kQ6,
                                 Encoding::kQ8};
// Loses enough to be told from float rounding, and little enough that the KL is still proportional
// to the error of the weights.
constexpr Encoding kProbe = Encoding::kQ4NlK;
constexpr double kMostBits = 32;  // a weight; no encoding has more
// Texts in a program's head (metadata, blobs) depend a little on the encodings.
constexpr std::uint64_t kSlackBytes = 2 * pte::kSegmentAlignment;

// A matrix, its choices in the order of the encodings tried.
struct BudgetMatrix {
  ProbedMatrix probed;
  std::vector<AllocationChoice> choices;
  std::vector<double> errors;  // of the choices: relative, of the output where that is known
  double probe_error = 0;      // the same of kProbe
};

class Fitting {
 public:
  Fitting(const CompileOptions& options, const BudgetOptions& budget, const std::string& scratch)
      : options_(options), budget_(budget), scratch_(scratch) {}

  Result<BudgetReport> run() {
    const auto start = std::chrono::steady_clock::now();
    CRIA_RETURN_IF_ERROR(check_request());
    CRIA_RETURN_IF_ERROR(open_source());
    for (const Encoding encoding : encodings_) CRIA_RETURN_IF_ERROR(measure_choice(encoding));
    CRIA_RETURN_IF_ERROR(measure_probe_errors());
    CRIA_RETURN_IF_ERROR(measure_costs());
    CRIA_RETURN_IF_ERROR(allocate());
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    report_.seconds = elapsed.count();
    return std::move(report_);
  }

 private:
  Status check_request() const {
    if ((budget_.file_bytes > 0) == (budget_.bits_per_weight > 0)) {
      return invalid_argument("a budget is a number of bytes or of bits a weight, one of the two");
    }
    if (!(budget_.bits_per_weight <= kMostBits)) {
      return invalid_argument("a budget of {} bits a weight, expected {} at most",
                              budget_.bits_per_weight, kMostBits);
    }
    // A matrix that both devices multiply with is in the file twice.
    if (!options_.pins.empty()) return unsupported("a budget for a model that two devices share");
    if (budget_.n_ctx < 2 || budget_.n_windows < 1) {
      return invalid_argument("{} windows of {} tokens, expected 1 of 2 or more", budget_.n_windows,
                              budget_.n_ctx);
    }
    if (is_recipe_file(options_.recipe) || options_.recipe == "source") {
      return invalid_argument("recipe {}: a budget chooses the encodings, expected a name as q4",
                              options_.recipe);
    }
    return Recipe::from_name(options_.recipe).status();
  }

  Status open_source() {
    CRIA_ASSIGN_OR_RETURN(path_, resolve_model(options_.source));
    CRIA_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                          open_checkpoint(path_, {.tokenizer_path = options_.tokenizer_path}));
    Encoding dense = Encoding::kF16;  // or the widest floats that a matrix has
    for (const StoredWeight& weight : checkpoint->weights()) {
      if (weight.n_rows == 1) continue;
      const EncodingSpec native = encoding_spec(weight.native_encoding());
      if (!native.dense()) {
        return unsupported("{} is in codes of {} already, a budget needs weights in floats",
                           weight.file_name, native.name);
      }
      if (dense != Encoding::kF32 && native.encoding != Encoding::kF16) dense = native.encoding;
      BudgetMatrix& matrix = matrices_.emplace_back();
      matrix.probed = {weight.name, weight.n_rows, weight.n_cols, dense, kProbe};
      n_weights_ += weight.n_rows * weight.n_cols;
    }
    for (BudgetMatrix& matrix : matrices_) matrix.probed.dense = dense;
    CRIA_ASSIGN_OR_RETURN(const DeviceTarget device, device_target(options_.device));
    for (const Encoding choice : kChoices) {
      const Encoding taken = fitting_encoding(
          choice, [&](Encoding e) { return device.target().supports(e).supported; });
      if (std::ranges::find(encodings_, taken) == encodings_.end()) encodings_.push_back(taken);
    }
    return cut_text(*checkpoint);
  }

  // Before seven conversions: whether the text has a window.
  Status cut_text(const Checkpoint& checkpoint) {
    CRIA_ASSIGN_OR_RETURN(const Tokenizer tokenizer, checkpoint_tokenizer(checkpoint, path_));
    CRIA_ASSIGN_OR_RETURN(
        windows_, sensitivity_windows(tokenizer, budget_.text, budget_.n_ctx, budget_.n_windows));
    return {};
  }

  // All matrices in one encoding, rounded to nearest: what is lost is then the encoding's alone,
  // and methods are taken to lower it by the same share whatever the encoding.
  std::string uniform_recipe(Encoding encoding) const {
    return fmt::format(
        "base = \"{}\"\n[[rule]]\ntensors = \"*\"\nencoding = \"{}\"\nmethod = "
        "\"nearest\"\nimportance = {}\n",
        options_.recipe, encoding_spec(encoding).name, !options_.calibration_path.empty());
  }

  Result<CompileReport> compile(const std::string& recipe_text, const std::string& device,
                                std::string_view step, const CompileChecks& checks = {}) {
    CompileOptions options = options_;
    options.recipe_text = recipe_text;
    options.device = device;
    options.sparse = false;
    if (device == "cpu") options.activations = "a16";
    options.progress = [&, step](std::string_view, std::uint64_t done, std::uint64_t total) {
      return !options_.progress || options_.progress(step, done, total);
    };
    return compile_path(path_, options, scratch_, {checks.check, false, checks.verify_chunk});
  }

  static double error_of(const CompiledTensor& tensor) {
    return tensor.output_error ? *tensor.output_error : tensor.relative_mse;
  }

  // Sizes and errors of all matrices in this encoding; what they need at least after the last.
  Status measure_choice(Encoding encoding) {
    const std::string name = encoding_spec(encoding).name;
    CRIA_ASSIGN_OR_RETURN(const CompileReport compiled,
                          compile(uniform_recipe(encoding), options_.device, "try " + name));
    std::uint64_t matrix_bytes = 0;
    for (BudgetMatrix& matrix : matrices_) {
      CRIA_ASSIGN_OR_RETURN(const CompiledTensor* tensor, tensor_of(compiled, matrix));
      matrix.choices.push_back({align_up(tensor->size_bytes, pte::kSegmentAlignment), 0.0});
      matrix.errors.push_back(error_of(*tensor));
      matrix_bytes += matrix.choices.back().size_bytes;
    }
    report_.overhead_bytes =
        std::max(report_.overhead_bytes, compiled.file_bytes - matrix_bytes + kSlackBytes);
    report_.uniform.push_back({name, compiled.file_bytes, 0.0});
    return report_.uniform.size() == 1 ? check_possible() : Status();
  }

  // The first encoding is the smallest, so that an impossible budget is refused at once. What is
  // said to be enough is: the slack covers what names of encodings and methods take in the head.
  Status check_possible() {
    for (const BudgetMatrix& matrix : matrices_) least_bytes_ += matrix.choices[0].size_bytes;
    report_.budget_bytes = budget_.file_bytes;
    if (budget_.bits_per_weight > 0) {
      report_.budget_bytes =
          report_.overhead_bytes +
          static_cast<std::uint64_t>(budget_.bits_per_weight / 8 * static_cast<double>(n_weights_));
    }
    const std::uint64_t least = report_.overhead_bytes + least_bytes_;
    if (least <= report_.budget_bytes) return {};
    return invalid_argument(
        "a budget of {} bytes ({:.3f} bits a weight) is too small: with all matrices in {}, the "
        "smallest, the program has {} bytes ({:.3f})",
        report_.budget_bytes, bits_of(report_.budget_bytes), encoding_spec(encodings_[0]).name,
        least, bits_of(least));
  }

  double bits_of(std::uint64_t file_bytes) const {
    const std::uint64_t bytes = file_bytes - std::min(file_bytes, report_.overhead_bytes);
    return 8.0 * static_cast<double>(bytes) / static_cast<double>(n_weights_);
  }

  static Result<const CompiledTensor*> tensor_of(const CompileReport& report,
                                                 const BudgetMatrix& matrix) {
    for (const CompiledTensor& tensor : report.tensors) {
      if (tensor.name == matrix.probed.name) return &tensor;
    }
    return internal_error("{} is not in the program", matrix.probed.name);
  }

  Status measure_probe_errors() {
    const auto known = std::ranges::find(encodings_, kProbe);
    if (known != encodings_.end()) {
      for (BudgetMatrix& m : matrices_) m.probe_error = m.errors[known - encodings_.begin()];
      return {};
    }
    CRIA_ASSIGN_OR_RETURN(const CompileReport compiled,
                          compile(uniform_recipe(kProbe), "cpu", "try the probe"));
    for (BudgetMatrix& matrix : matrices_) {
      CRIA_ASSIGN_OR_RETURN(const CompiledTensor* tensor, tensor_of(compiled, matrix));
      matrix.probe_error = error_of(*tensor);
    }
    return {};
  }

  // KL of the probe, made by the recipe's own methods, times the ratio of the errors.
  Status measure_costs() {
    SensitivityRequest request;
    request.windows = windows_;
    request.n_threads = options_.n_threads;
    request.progress = options_.progress;
    for (const BudgetMatrix& matrix : matrices_) request.matrices.push_back(matrix.probed);
    const auto load = [&](const std::string& program) -> Status {
      CRIA_ASSIGN_OR_RETURN(request.program, Program::load_for_edits(program));
      return {};
    };
    const auto load_probe = [&](const std::string& program) -> Status {
      CRIA_ASSIGN_OR_RETURN(request.probe, Program::load(program));
      return {};
    };
    const std::string probe =
        fmt::format("base = \"{}\"\n[[rule]]\ntensors = \"*\"\nencoding = \"{}\"\n",
                    options_.recipe, encoding_spec(kProbe).name);
    // Windows in one call: the weights are read, and made floats of, once for all of their tokens.
    CRIA_RETURN_IF_ERROR(compile(uniform_recipe(matrices_[0].probed.dense), "cpu", "reference",
                                 {.check = load, .verify_chunk = budget_.n_ctx})
                             .status());
    CRIA_RETURN_IF_ERROR(compile(probe, "cpu", "probe", {.check = load_probe}).status());
    CRIA_ASSIGN_OR_RETURN(const std::vector<double> kl, measure_sensitivities(request));
    for (std::size_t m = 0; m < matrices_.size(); ++m) {
      BudgetMatrix& matrix = matrices_[m];
      for (std::size_t c = 0; c < matrix.choices.size(); ++c) {
        const double ratio = matrix.probe_error > 0 ? matrix.errors[c] / matrix.probe_error : 0.0;
        matrix.choices[c].cost = kl[m] * ratio;
        report_.uniform[c].kl += matrix.choices[c].cost;
      }
    }
    return {};
  }

  Status allocate() {
    std::vector<std::vector<AllocationChoice>> choices;
    for (const BudgetMatrix& matrix : matrices_) choices.push_back(matrix.choices);
    // The heads of other encodings may be larger than that of the smallest, which fits.
    const std::uint64_t for_matrices =
        report_.budget_bytes - std::min(report_.budget_bytes, report_.overhead_bytes);
    CRIA_ASSIGN_OR_RETURN(const Allocation best,
                          allocate_bytes(choices, std::max(for_matrices, least_bytes_)));
    report_.file_bytes = std::min(report_.budget_bytes, report_.overhead_bytes + best.size_bytes);
    report_.kl = best.cost;
    CRIA_ASSIGN_OR_RETURN(Recipe recipe, Recipe::from_name(options_.recipe));
    recipe.adapt(!options_.calibration_path.empty(), {});
    for (std::size_t m = 0; m < matrices_.size(); ++m) {
      const std::string& name = matrices_[m].probed.name;
      WeightRounding rounding = recipe.rounding_for(name, Encoding::kF32);
      rounding.encoding = encodings_[best.choice[m]];
      recipe.overrides[name] = rounding;
      report_.tensors.push_back(tensor_report(matrices_[m], best.choice[m]));
    }
    report_.recipe_text = recipe_file_text(recipe);
    return {};
  }

  BudgetTensor tensor_report(const BudgetMatrix& matrix, std::size_t chosen) const {
    const auto choice = [&](std::size_t c) {
      return BudgetChoice{encoding_spec(encodings_[c]).name, matrix.choices[c].size_bytes,
                          matrix.choices[c].cost};
    };
    BudgetTensor tensor;
    tensor.name = matrix.probed.name;
    tensor.n_weights = matrix.probed.n_rows * matrix.probed.n_cols;
    tensor.chosen = choice(chosen);
    tensor.smallest = choice(0);
    if (chosen > 0) tensor.less = choice(chosen - 1);
    if (chosen + 1 < encodings_.size()) tensor.more = choice(chosen + 1);
    return tensor;
  }

  const CompileOptions& options_;
  const BudgetOptions& budget_;
  const std::string& scratch_;
  std::string path_;
  std::int64_t n_weights_ = 0;
  std::uint64_t least_bytes_ = 0;  // of the matrices, all in the smallest encoding
  std::vector<std::vector<std::int32_t>> windows_;
  std::vector<Encoding> encodings_;
  std::vector<BudgetMatrix> matrices_;
  BudgetReport report_;
};

}  // namespace

Result<BudgetReport> fit_budget(const CompileOptions& options, const BudgetOptions& budget,
                                const std::string& scratch_path) {
  return Fitting(options, budget, scratch_path).run();
}

}  // namespace cria

#include "cria/toolchain.h"

#include <cstring>
#include <filesystem>
#include <tuple>

#include "api/compile_path.h"
#include "api/device_target.h"
#include "api/inspect.h"
#include "api/model_cache.h"
#include "api/open_recipe.h"
#include "api/open_tokenizer.h"
#include "api/program_metadata.h"
#include "base/result.h"
#include "compile/compile.h"
#include "cria/version.h"
#include "model/checkpoint.h"
#include "model/fingerprint.h"
#include "model/resolve.h"
#include "npu_plan/place.h"
#include "quantize/calibrated_statistics.h"
#include "quantize/recipe.h"
#include "quantize/recipe_file.h"
#include "targets/cpu/cpu_target.h"
#include "targets/sim_npu/sim_npu_target.h"
#include "tokenizer/tokenizer.h"

namespace cria {
namespace {

CompileReport to_report(const CompileSummary& summary) {
  CompileReport report;
  report.source_description = summary.source_description;
  report.file_bytes = summary.file_bytes;
  report.weight_bytes = summary.weight_bytes;
  report.n_parameters = summary.n_parameters;
  report.bits_per_weight = summary.bits_per_weight;
  report.seconds = summary.seconds;
  for (const TensorReport& tensor : summary.tensors) {
    report.tensors.push_back({tensor.name, encoding_spec(tensor.encoding).name, tensor.n_rows,
                              tensor.n_cols, tensor.size_bytes, tensor.relative_mse, tensor.method,
                              tensor.output_error, tensor.note});
  }
  return report;
}

}  // namespace

Result<DeviceTarget> device_target(const std::string& device, const DevicePins& wanted_pins) {
  constexpr std::string_view kSim = "sim:";
  if (device == "cpu" && !wanted_pins.empty())
    return invalid_argument("--place needs --device sim:PROFILE");
  if (device == "cpu") return DeviceTarget();
  if (!device.starts_with(kSim)) {
    return invalid_argument("device '{}', expected cpu or sim:PROFILE", device);
  }
  CRIA_ASSIGN_OR_RETURN(NpuProfileFile profile, load_npu_profile(device.substr(kSim.size())));
  if (wanted_pins.empty()) return DeviceTarget{sim_npu_target(std::move(profile))};
  CRIA_ASSIGN_OR_RETURN(const PlacePins pins, parse_pins(wanted_pins));
  NpuSharing sharing;
  sharing.split_attention = pins_split_attention(pins) ? 2 : 0;
  sharing.on_npu = [pins](const Plan& plan) { return place_by_pins(plan, pins); };
  sharing.cpu_delegate_id = kCpuDelegateId;
  return DeviceTarget{sim_npu_target(std::move(profile), std::move(sharing))};
}

const Target& DeviceTarget::target() const { return npu != nullptr ? *npu : cpu_target(); }

Result<CompileReport> compile_path(const std::string& path, const CompileOptions& options,
                                   const std::string& out_path, const CompileChecks& checks) {
  CRIA_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                        open_checkpoint(path, {.tokenizer_path = options.tokenizer_path}));
  CompileRequest request;
  request.out_path = out_path;
  CRIA_ASSIGN_OR_RETURN(const DeviceTarget device, device_target(options.device, options.pins));
  const Target& target = device.target();
  const RecipeConditions conditions{
      .has_statistics = !options.calibration_path.empty(),
      .takes = [&](Encoding encoding) { return target.supports(encoding).supported; },
      .text = options.recipe_text};
  CRIA_ASSIGN_OR_RETURN(request.own_recipe, open_recipe(options.recipe, *checkpoint, conditions));
  const std::string recipe = request.own_recipe->name;
  std::unique_ptr<Statistics> statistics;
  if (!options.calibration_path.empty()) {
    CRIA_ASSIGN_OR_RETURN(statistics,
                          open_statistics(options.calibration_path, fingerprint_of(*checkpoint)));
    request.statistics = statistics.get();
  }
  request.max_context = options.max_context;
  request.activations = options.activations;
  request.sparse = options.sparse;
  if (!options.cache_type_k.empty()) request.cache_type_k = options.cache_type_k;
  if (!options.cache_type_v.empty()) request.cache_type_v = options.cache_type_v;
  request.n_threads = options.n_threads;
  request.progress = options.progress;
  request.check = checks.check;
  request.keep = checks.keep;
  request.cria_version = kVersion;
  if (checkpoint->vocabulary() != nullptr) {
    CRIA_ASSIGN_OR_RETURN(const Tokenizer tokenizer, checkpoint_tokenizer(*checkpoint, path));
    request.tokenizer = tokenizer.serialize();
  }
  // An NPU's prefill should fill its matrix tiles and leave room in its SRAM.
  if (device.npu != nullptr) request.prefill_chunk = 64;
  if (options.prefill_chunk > 0) request.prefill_chunk = options.prefill_chunk;
  if (checks.verify_chunk > 0) request.verify_chunk = checks.verify_chunk;
  CRIA_ASSIGN_OR_RETURN(const CompileSummary summary,
                        compile_checkpoint(*checkpoint, target, request));
  CompileReport report = to_report(summary);
  report.recipe = recipe;
  const bool by_default = options.recipe_text.empty() && options.recipe == kDefaultRecipe;
  if (by_default && recipe != "source") {
    report.remarks.push_back(fmt::format(
        "{} is the default for {:.1f} billion weights in floats; --quant source keeps them", recipe,
        1e-9 * static_cast<double>(report.n_parameters)));
  }
  if (!request.own_recipe->adapted.empty()) {
    report.remarks.push_back(
        fmt::format("{} on {} is {}", recipe, options.device, request.own_recipe->adapted));
  }
  return report;
}

namespace {

// A program's cache is what it was compiled with.
Status check_cache_types(const std::string& path, const CompileOptions& options) {
  if (options.cache_type_k.empty() && options.cache_type_v.empty()) return {};
  CRIA_ASSIGN_OR_RETURN(const std::shared_ptr<const Program> program, Program::load(path));
  const CacheTypes types = program_cache_types(*program);
  for (const auto& [flag, wanted, compiled] : {std::tuple{"-ctk", options.cache_type_k, types.k},
                                               {"-ctv", options.cache_type_v, types.v}}) {
    if (wanted.empty() || wanted == compiled) continue;
    return invalid_argument("{}: compiled with {} {}, {} {} needs the checkpoint", path, flag,
                            compiled, flag, wanted);
  }
  return {};
}

std::vector<RecipeInfo> to_infos(const std::vector<RecipeSummary>& summaries) {
  std::vector<RecipeInfo> infos;
  for (const RecipeSummary& row : summaries) infos.push_back({row.name, row.summary});
  return infos;
}

}  // namespace

Result<CompileReport> compile(const CompileOptions& options, const std::string& out_path) {
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(options.source));
  return compile_path(path, options, out_path);
}

std::vector<RecipeInfo> quantization_recipes() { return to_infos(recipe_summaries()); }

std::vector<RecipeInfo> quantization_methods() { return to_infos(recipe_methods()); }

Status check_recipe(const std::string& recipe) {
  if (is_recipe_file(recipe) || recipe == kDefaultRecipe) return Status();
  return Recipe::from_name(recipe).status();
}

Result<PreparedModel> prepare_model(const CompileOptions& options, const std::string& cache_dir) {
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(options.source));
  PreparedModel prepared;
  if (is_program_file(path)) {
    if (options.recipe != "source") {
      return invalid_argument("{}: already compiled, --quant {} needs the checkpoint", path,
                              options.recipe);
    }
    CRIA_RETURN_IF_ERROR(check_cache_types(path, options));
    prepared.pte_path = path;
    return prepared;
  }
  CRIA_ASSIGN_OR_RETURN(const std::string fingerprint, source_fingerprint(path, options));
  CRIA_ASSIGN_OR_RETURN(const std::string dir, open_cache_dir(cache_dir));
  prepared.pte_path = dir + "/" + cache_file_name(path, options, fingerprint);
  std::error_code error;
  if (std::filesystem::exists(prepared.pte_path, error)) return prepared;
  CRIA_ASSIGN_OR_RETURN(prepared.report, compile_path(path, options, prepared.pte_path));
  prepared.compiled_now = true;
  return prepared;
}

}  // namespace cria

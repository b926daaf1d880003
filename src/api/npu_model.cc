#include "api/npu_model.h"

#include "base/quote.h"

namespace cria {
namespace {

constexpr std::int64_t kPrefillChunk = 64;  // as of programs compiled for an NPU

Result<NpuPowerProfile> power_profile_of(const NpuProfile& profile, const std::string& power) {
  if (power == "high_performance") return profile.high_performance;
  if (power == "balanced") return profile.balanced;
  if (power == "low_power") return profile.low_power;
  return invalid_argument("power profile {}, expected high_performance, balanced or low_power",
                          quote(power));
}

Status check_options(const NpuModelOptions& options) {
  if (!options.device.starts_with("sim:"))
    return invalid_argument("--device {}: expected sim:NAME, see cria devices",
                            quote(options.device));
  for (const auto& [what, n] : {std::pair{"context", options.n_context},
                                {"prompt", options.n_prompt},
                                {"generated", options.n_generate}}) {
    if (n < 1 || n > (1 << 24))
      return invalid_argument("{} of {} tokens, expected 1 to 16777216", what, n);
  }
  if (options.prefill_chunk < 0 || options.prefill_chunk > 4096)
    return invalid_argument("a prefill chunk of {} tokens, expected 1 to 4096",
                            options.prefill_chunk);
  for (const auto& [what, n] : {std::pair{"ops a submission", options.ops_per_submission},
                                {"submissions in flight", options.queue_depth}}) {
    if (n < 0 || n > 65536) return invalid_argument("{} {}, expected 1 to 65536", n, what);
  }
  if (options.activations != "a8" && options.activations != "a16")
    return invalid_argument("activations {}, expected a8 or a16", quote(options.activations));
  return {};
}

}  // namespace

Result<NpuModel> open_npu_model(const NpuModelOptions& options) {
  CRIA_RETURN_IF_ERROR(check_options(options));
  NpuModel model;
  CRIA_ASSIGN_OR_RETURN(NpuProfileFile file, load_npu_profile(options.device.substr(4)));
  model.profile = std::move(file.profile);
  CRIA_ASSIGN_OR_RETURN(const NpuPowerProfile power,
                        power_profile_of(model.profile, options.power_profile));
  model.sim.clock_state = power.clock_state;
  model.sim.batch = options.ops_per_submission > 0
                        ? static_cast<std::uint32_t>(options.ops_per_submission)
                        : power.batch;
  model.sim.queue_depth = static_cast<std::uint32_t>(options.queue_depth);
  model.sim.one_op_at_a_time = options.one_op_at_a_time;
  const std::int64_t chunk = options.prefill_chunk > 0 ? options.prefill_chunk : kPrefillChunk;
  CRIA_ASSIGN_OR_RETURN(model.plans, open_model_plans(options.model, options.quant,
                                                      std::min(chunk, options.n_prompt)));
  model.lowering.a8 = options.activations == "a8";
  model.lowering.max_context = std::max(options.n_context, options.n_prompt) + options.n_generate;
  const std::int64_t rows = std::min(options.n_prompt, model.plans.prefill.max_tokens);
  model.n_prefill_calls = (options.n_prompt + rows - 1) / rows;
  model.prefill = {rows, (options.n_prompt - rows) / 2};
  model.decode = {1, options.n_context};
  return model;
}

}  // namespace cria

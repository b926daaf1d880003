#include "api/npu_model.h"

#include <algorithm>

#include "base/quote.h"
#include "format/plan/plan_cost.h"

namespace cria {
namespace {

constexpr std::int64_t kPrefillChunk = 64;  // as of programs compiled for an NPU

Status check_options(const NpuModelOptions& options) {
  for (const auto& [what, n] : {std::pair{"context", options.n_context},
                                {"prompt", options.n_prompt},
                                {"generated", options.n_generate}}) {
    if (n < 1 || n > (1 << 24))
      return invalid_argument("{} of {} tokens, expected 1 to 16777216", what, n);
  }
  if (options.n_depth < 0 || options.n_depth > (1 << 24))
    return invalid_argument("{} tokens before the prompt, expected 0 to 16777216", options.n_depth);
  for (const std::string& type : {options.cache_type_k, options.cache_type_v}) {
    if (!type.empty() && !kv_type_from_name(type))
      return invalid_argument("cache type {}, expected f16 or q8_0", quote(type));
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

// NpuModel::decode_op_of_prefill. Thirds of attention belong together by kind and layer, all others
// by their order.
Result<std::vector<std::size_t>> match_ops(const Plan& prefill, const Plan& decode) {
  std::vector<std::size_t> matched;
  std::vector<bool> used(decode.ops.size(), false);
  for (const PlanOp& op : prefill.ops) {
    const bool third = plan_op_has_score_rows(op);
    const auto same = [&](const PlanOp& other) {
      if (third) return other.kind == op.kind && other.layer == op.layer;
      return !plan_op_has_score_rows(other) &&
             !used[static_cast<std::size_t>(&other - decode.ops.data())];
    };
    const auto found = std::ranges::find_if(decode.ops, same);
    if (found == decode.ops.end() || found->kind != op.kind)
      return unsupported("prefill has {} of {} where decode has other ops", plan_op_name(op.kind),
                         plan_op_label(prefill, op));
    matched.push_back(static_cast<std::size_t>(found - decode.ops.begin()));
    used[matched.back()] = true;
  }
  if (std::ranges::find(used, false) != used.end())
    return unsupported("decode has ops that prefill has not");
  return matched;
}

}  // namespace

Result<NpuPowerProfile> npu_power_profile(const NpuProfile& profile, const std::string& name) {
  if (name == "high_performance") return profile.high_performance;
  if (name == "balanced") return profile.balanced;
  if (name == "low_power") return profile.low_power;
  return invalid_argument("power profile {}, expected high_performance, balanced or low_power",
                          quote(name));
}

Result<NpuSimOptions> npu_sim_options(const NpuProfile& profile, const NpuModelOptions& options) {
  CRIA_RETURN_IF_ERROR(check_options(options));
  CRIA_ASSIGN_OR_RETURN(const NpuPowerProfile power,
                        npu_power_profile(profile, options.power_profile));
  NpuSimOptions sim;
  sim.clock_state = power.clock_state;
  sim.batch = options.ops_per_submission > 0
                  ? static_cast<std::uint32_t>(options.ops_per_submission)
                  : power.batch;
  sim.queue_depth = static_cast<std::uint32_t>(options.queue_depth);
  sim.one_op_at_a_time = options.one_op_at_a_time;
  return sim;
}

NpuCalls npu_calls(const NpuModelOptions& options, std::int64_t most_rows) {
  const std::int64_t rows = std::min(options.n_prompt, most_rows);
  return {(options.n_prompt + rows - 1) / rows,
          {rows, options.n_depth + (options.n_prompt - rows) / 2},
          {1, options.n_context}};
}

Result<NpuModel> open_npu_model(const NpuModelOptions& options) {
  if (!options.device.starts_with("sim:"))
    return invalid_argument("--device {}: expected sim:NAME, see cria devices",
                            quote(options.device));
  NpuModel model;
  CRIA_ASSIGN_OR_RETURN(NpuProfileFile file, load_npu_profile(options.device.substr(4)));
  model.profile = std::move(file.profile);
  CRIA_ASSIGN_OR_RETURN(model.sim, npu_sim_options(model.profile, options));
  const std::int64_t chunk = options.prefill_chunk > 0 ? options.prefill_chunk : kPrefillChunk;
  const auto kv_type = [](const std::string& name) {
    return kv_type_from_name(name).value_or(KvType::kF16);
  };
  model.lowering.a8 = options.activations == "a8";
  model.lowering.max_context =
      std::max(options.n_context, options.n_depth + options.n_prompt) + options.n_generate;
  CRIA_ASSIGN_OR_RETURN(model.pins, parse_pins(options.pins));
  ModelPlansRequest wanted{options.model, options.quant, std::min(chunk, options.n_prompt),
                           kv_type(options.cache_type_k), kv_type(options.cache_type_v)};
  wanted.max_context = model.lowering.max_context;
  wanted.takes = [&](Encoding encoding) { return check_groups(model.profile, encoding).ok(); };
  wanted.split_attention = pins_split_attention(model.pins) ? 2 : 0;  // as compiled
  CRIA_ASSIGN_OR_RETURN(model.plans, open_model_plans(wanted));
  CRIA_ASSIGN_OR_RETURN(model.decode_op_of_prefill,
                        match_ops(model.plans.prefill, model.plans.decode));
  model.calls = npu_calls(options, model.plans.prefill.max_tokens);
  return model;
}

}  // namespace cria

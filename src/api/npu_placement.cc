#include "api/npu_placement.h"

namespace cria {
namespace {

// Costs of all ops on the NPU: those of the whole plan, compiled, where the device takes it; else
// of each op by itself, or why it cannot.
struct NpuSide {
  std::vector<Result<double>> seconds;
  std::vector<EstimateBound> bound;
};

NpuSide npu_side(const NpuModel& model, const Plan& plan, const NpuCall& call) {
  NpuSide side;
  const Result<NpuCallTimes> whole = time_npu_call(model, plan, call);
  if (whole.ok()) {
    for (const double seconds : whole->op_seconds) side.seconds.emplace_back(seconds);
    side.bound = whole->op_bound;
    return side;
  }
  const std::vector<Result<NpuCallTimes>> ops = time_npu_ops(model, plan, call);
  for (std::size_t i = 0; i < ops.size(); ++i) {
    side.bound.push_back(ops[i].ok() ? ops[i]->op_bound[i] : EstimateBound::kLatency);
    if (ops[i].ok()) {
      side.seconds.emplace_back(ops[i]->op_seconds[i]);
    } else {
      side.seconds.emplace_back(ops[i].status());
    }
  }
  return side;
}

std::vector<PlaceCost> npu_costs(const NpuModel& model) {
  const NpuSide prefill = npu_side(model, model.plans.prefill, model.calls.prefill);
  const NpuSide decode = npu_side(model, model.plans.decode, model.calls.decode);
  std::vector<PlaceCost> costs(decode.seconds.size());
  for (std::size_t i = 0; i < costs.size(); ++i) {
    if (!decode.seconds[i].ok() || !prefill.seconds[i].ok()) {
      const bool ok = decode.seconds[i].ok();
      costs[i].reason = (ok ? prefill : decode).seconds[i].status().message();
      continue;
    }
    costs[i].prefill_seconds = *prefill.seconds[i];
    costs[i].decode_seconds = *decode.seconds[i];
    costs[i].prefill_bound = prefill.bound[i];
    costs[i].decode_bound = decode.bound[i];
  }
  return costs;
}

std::vector<PlaceCost> cpu_costs(const NpuModel& model) {
  std::vector<PlaceCost> costs;
  for (std::size_t i = 0; i < model.plans.decode.ops.size(); ++i) {
    const auto of = [&](const Plan& plan, const NpuCall& call) {
      return estimate_cpu_op(model.profile, plan, plan.ops[i], {call.n_tokens, call.position});
    };
    const OpEstimate prefill = of(model.plans.prefill, model.calls.prefill);
    const OpEstimate decode = of(model.plans.decode, model.calls.decode);
    costs.push_back({prefill.seconds, decode.seconds, prefill.bound, decode.bound, ""});
  }
  return costs;
}

}  // namespace

Result<PlaceProblem> pose_npu_placement(const NpuModel& model, const NpuModelOptions& options) {
  PlaceProblem problem;
  problem.n_prefill_calls = static_cast<double>(model.calls.n_prefill);
  problem.n_decode_steps = static_cast<double>(options.n_generate);
  problem.handoff_seconds[0] = handoff_seconds(model.profile, false);
  problem.handoff_seconds[1] = handoff_seconds(model.profile, true);
  problem.bytes_per_second = model.profile.dram_bytes_per_s(model.sim.clock_state);
  problem.prefill_tokens = static_cast<double>(model.calls.prefill.n_tokens);
  problem.costs[static_cast<int>(PlaceDevice::kCpu)] = cpu_costs(model);
  problem.costs[static_cast<int>(PlaceDevice::kNpu)] = npu_costs(model);
  problem.pins = model.pins;
  return problem;
}

namespace {

Result<PlacedModel> compile_placed(const NpuModel& model, PlacedOps placed) {
  PlacedModel result;
  result.placed = std::move(placed);
  CRIA_ASSIGN_OR_RETURN(result.prefill, time_npu_call(model, model.plans.prefill,
                                                      model.calls.prefill, result.placed.device));
  CRIA_ASSIGN_OR_RETURN(result.decode, time_npu_call(model, model.plans.decode, model.calls.decode,
                                                     result.placed.device));
  return result;
}

double weighed_seconds(const PlaceProblem& problem, const PlacedModel& placed) {
  return problem.n_prefill_calls * placed.prefill.seconds +
         problem.n_decode_steps * placed.decode.seconds;
}

}  // namespace

Result<PlacedModel> place_npu_model(const NpuModel& model, const PlaceProblem& problem) {
  const Plan& plan = model.plans.decode;
  CRIA_ASSIGN_OR_RETURN(const PlacedOps found, place_ops(plan, problem));
  CRIA_ASSIGN_OR_RETURN(PlacedModel searched, compile_placed(model, found));
  PlaceProblem on_npu = problem;
  on_npu.rest_on_npu = true;
  Result<PlacedOps> all = place_ops(plan, on_npu);
  if (!all.ok() || all->device == found.device) return searched;
  Result<PlacedModel> npu = compile_placed(model, *std::move(all));
  if (!npu.ok() || weighed_seconds(problem, *npu) >= weighed_seconds(problem, searched))
    return searched;
  return npu;
}

}  // namespace cria

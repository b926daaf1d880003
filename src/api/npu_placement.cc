#include "api/npu_placement.h"

namespace cria {
namespace {

// What ops cost on a device: by op, or why it cannot.
struct CallCosts {
  std::vector<Result<double>> seconds;
  std::vector<EstimateBound> bound;
};

// Of the whole plan, compiled, where the device takes it; else of each op by itself.
CallCosts npu_call_costs(const NpuModel& model, const Plan& plan, const NpuCall& call) {
  CallCosts costs;
  const Result<NpuCallTimes> whole = time_npu_call(model, plan, call);
  if (whole.ok()) {
    for (const double seconds : whole->op_seconds) costs.seconds.emplace_back(seconds);
    costs.bound = whole->op_bound;
    return costs;
  }
  const std::vector<Result<NpuCallTimes>> ops = time_npu_ops(model, plan, call);
  for (std::size_t i = 0; i < ops.size(); ++i) {
    costs.bound.push_back(ops[i].ok() ? ops[i]->op_bound[i] : EstimateBound::kLatency);
    if (ops[i].ok()) {
      costs.seconds.emplace_back(ops[i]->op_seconds[i]);
    } else {
      costs.seconds.emplace_back(ops[i].status());
    }
  }
  return costs;
}

CallCosts cpu_call_costs(const NpuModel& model, const Plan& plan, const NpuCall& call) {
  CallCosts costs;
  for (const PlanOp& op : plan.ops) {
    const OpEstimate estimate =
        estimate_cpu_op(model.profile, plan, op, {call.n_tokens, call.position});
    costs.seconds.emplace_back(estimate.seconds);
    costs.bound.push_back(estimate.bound);
  }
  return costs;
}

// By op of a decode step, those of a prefill call that do the same added up. One that cannot run
// leaves the sum unknown; the bound is that of the longest.
CallCosts by_decode_op(const CallCosts& prefill, const std::vector<std::size_t>& decode_op,
                       std::size_t n_ops) {
  CallCosts costs;
  costs.seconds.assign(n_ops, Result<double>(0.0));
  costs.bound.assign(n_ops, EstimateBound::kLatency);
  std::vector<double> longest(n_ops, -1);
  for (std::size_t i = 0; i < decode_op.size(); ++i) {
    Result<double>& sum = costs.seconds[decode_op[i]];
    const Result<double>& seconds = prefill.seconds[i];
    if (!sum.ok()) continue;
    if (!seconds.ok()) {
      sum = seconds.status();
      continue;
    }
    sum = *sum + *seconds;
    if (*seconds <= longest[decode_op[i]]) continue;
    longest[decode_op[i]] = *seconds;
    costs.bound[decode_op[i]] = prefill.bound[i];
  }
  return costs;
}

using CostsOfCall = CallCosts(const NpuModel&, const Plan&, const NpuCall&);

std::vector<PlaceCost> place_costs(const NpuModel& model, CostsOfCall& of) {
  const CallCosts decode = of(model, model.plans.decode, model.calls.decode);
  const CallCosts prefill = by_decode_op(of(model, model.plans.prefill, model.calls.prefill),
                                         model.decode_op_of_prefill, decode.seconds.size());
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

}  // namespace

Result<PlaceProblem> pose_npu_placement(const NpuModel& model, const NpuModelOptions& options) {
  PlaceProblem problem;
  problem.n_prefill_calls = static_cast<double>(model.calls.n_prefill);
  problem.n_decode_steps = static_cast<double>(options.n_generate);
  problem.handoff_seconds[0] = handoff_seconds(model.profile, false);
  problem.handoff_seconds[1] = handoff_seconds(model.profile, true);
  problem.bytes_per_second = model.profile.dram_bytes_per_s(model.sim.clock_state);
  problem.prefill_tokens = static_cast<double>(model.calls.prefill.n_tokens);
  problem.costs[static_cast<int>(PlaceDevice::kCpu)] = place_costs(model, cpu_call_costs);
  problem.costs[static_cast<int>(PlaceDevice::kNpu)] = place_costs(model, npu_call_costs);
  problem.pins = model.pins;
  return problem;
}

namespace {

Result<PlacedModel> compile_placed(const NpuModel& model, PlacedOps placed) {
  PlacedModel result;
  result.placed = std::move(placed);
  std::vector<PlaceDevice> prefill;
  for (const std::size_t op : model.decode_op_of_prefill)
    prefill.push_back(result.placed.device[op]);
  CRIA_ASSIGN_OR_RETURN(result.prefill,
                        time_npu_call(model, model.plans.prefill, model.calls.prefill, prefill));
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

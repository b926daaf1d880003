#include "npu_plan/estimate.h"

#include <algorithm>

#include "format/plan/plan_cost.h"

namespace cria {

const char* estimate_bound_name(EstimateBound bound) {
  static constexpr const char* kNames[] = {"dma", "matrix", "vector", "host", "cpu", "latency"};
  return kNames[static_cast<int>(bound)];
}

OpEstimate estimate_cpu_op(const NpuProfile& profile, const Plan& plan, const PlanOp& op,
                           const EstimateCall& call) {
  const PlanCost cost = plan_op_cost(plan, op, call.n_tokens, call.position);
  const bool codes = op.kind == PlanOpKind::kLinear &&
                     !encoding_spec(plan.weights[op.weights[0]].encoding).dense();
  const double macs_per_s = (codes ? profile.cpu.i8_gmac_per_s : profile.cpu.f32_gmac_per_s) * 1e9;
  const std::uint32_t buffer = op.out == kNoBuffer ? op.x : op.out;
  const double rows = plan.buffers[buffer].single_row ? 1 : static_cast<double>(call.n_tokens);
  // Elementwise work: some ten operations an element.
  double elements = rows * static_cast<double>(plan.buffers[buffer].width);
  if (op.kind == PlanOpKind::kScores || op.kind == PlanOpKind::kSoftmax)  // of what is seen
    elements = rows * op.n_heads * static_cast<double>(call.position + call.n_tokens);
  OpEstimate estimate;
  estimate.dram_bytes = static_cast<double>(cost.weight_bytes + cost.kv_bytes);
  const double memory = estimate.dram_bytes / (profile.cpu.dram_gb_per_s * 1e9);
  const double compute = static_cast<double>(cost.macs()) / macs_per_s +
                         10 * elements / (profile.cpu.f32_gmac_per_s * 1e9);
  constexpr double kWake = 2e-6;  // starting and joining the threads of one op
  estimate.seconds = std::max(memory, compute) + kWake;
  estimate.bound = memory > compute ? EstimateBound::kDma : EstimateBound::kCpu;
  estimate.device_joules = profile.cpu.active_mw * 1e-3 * estimate.seconds;
  estimate.dram_joules = estimate.dram_bytes * profile.dram.pj_per_byte * 1e-12;
  return estimate;
}

double handoff_seconds(const NpuProfile& profile, bool to_npu) {
  return (to_npu ? profile.host.submit_us : profile.host.complete_us) * 1e-6;
}

}  // namespace cria

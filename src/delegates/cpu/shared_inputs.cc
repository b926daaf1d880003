#include "delegates/cpu/shared_inputs.h"

namespace cria {

std::vector<std::vector<std::uint32_t>> shared_inputs(const Plan& plan) {
  constexpr std::size_t kNobody = static_cast<std::size_t>(-1);
  std::vector<std::vector<std::uint32_t>> weights(plan.ops.size());
  std::vector<std::size_t> first_reader(plan.buffers.size(), kNobody);
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    const PlanOp& op = plan.ops[i];
    if (op.kind == PlanOpKind::kLinear) {
      if (first_reader[op.x] == kNobody) first_reader[op.x] = i;
      std::vector<std::uint32_t>& of_first = weights[first_reader[op.x]];
      of_first.insert(of_first.end(), op.weights.begin(), op.weights.end());
    }
    if (op.out != kNoBuffer) first_reader[op.out] = kNobody;
  }
  return weights;
}

}  // namespace cria

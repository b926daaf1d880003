#include "delegates/cpu/plan_reads.h"

#include <algorithm>
#include <vector>

namespace cria {

bool is_part_of_method(const Plan& plan) {
  return plan.ops.front().kind != PlanOpKind::kEmbed || plan.ops.back().kind != PlanOpKind::kOutput;
}

bool is_read_later(const Plan& plan, std::size_t first, std::uint32_t buffer) {
  for (std::size_t i = first; i < plan.ops.size(); ++i) {
    const PlanOp& op = plan.ops[i];
    const std::vector<std::uint32_t> reads = plan_op_reads(plan, op);
    if (std::ranges::find(reads, buffer) != reads.end()) return true;
    if (op.out == buffer) return false;  // written anew
  }
  return false;
}

}  // namespace cria

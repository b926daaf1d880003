// A plan that two devices share -> parts, each of which one of them runs.
#pragma once

#include <cstdint>
#include <vector>

#include "format/plan/plan.h"

namespace cria {

// Ops that follow each other on one device. `plan` has the buffers and weights that they use, the
// buffers where the whole plan has them, and is_part set.
struct PlanPart {
  bool on_npu = false;
  Plan plan;
  std::vector<std::uint32_t> exports;  // buffers of `plan` that later parts read
  // Earlier parts whose work it needs or whose data it overwrites, in scratch or in the cache;
  // without those that others of them come after.
  std::vector<std::size_t> after;
};

// `on_npu`: by op. In the order in which they run. A plan that one device runs alone stays whole
// (not is_part).
std::vector<PlanPart> split_plan(const Plan& plan, const std::vector<bool>& on_npu);

// Ops [first, end) as a part of the plan. Imports: every buffer of which they need what earlier ops
// have left there. REQUIRES: first < end <= the number of ops.
Plan cut_plan(const Plan& plan, std::size_t first, std::size_t end);

}  // namespace cria

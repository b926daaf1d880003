// A graph of ops over values -> a plan of ops over buffers.
#pragma once

#include "base/result.h"
#include "format/plan/plan.h"
#include "ir/graph.h"
#include "targets/target.h"

namespace cria {

// What every target that starts from a plan asks of a method: its call, and ops that plans have.
Support plan_supports(const ir::Graph& graph, const ir::Op& op);
// kUnsupported names the target, the method and what it has: a number of tokens beyond the target's
// limit, other inputs than tokens and a position, or the first op that the target does not take.
Status check_method(const Target& target, const ir::Graph& graph, const MethodRequest& request);

// Each value gets a buffer, except that a slice is a range of columns of its source, and that rope
// and accumulating linears work in place. In place means that the old value must not be needed any
// more: a linear whose residual is needed later becomes a linear and an add. Then the buffers get
// their places in the scratch area (memory_planner.h).
// kUnsupported: an op, or a use of one, that plans cannot express. The plan passes verify_plan().
Result<Plan> lower_to_plan(const ir::Graph& graph, const MethodRequest& request);

}  // namespace cria

#include "compile/fuse_residual.h"

#include "ir/rewrite.h"

namespace cria {

int fuse_residual(ir::Graph& graph) {
  const std::vector<std::size_t> maker = ir::makers(graph);
  const std::vector<std::size_t> uses = ir::use_counts(graph);
  int n_fused = 0;
  for (ir::Op& op : graph.ops) {
    if (op.kind != ir::OpKind::kAdd) continue;
    // The second operand first: models write residual + branch.
    for (int side = 1; side >= 0; --side) {
      const ir::ValueId branch = op.inputs[side];
      if (maker[branch] == ir::kNoOp || uses[branch] != 1) continue;
      const ir::Op& linear = graph.ops[maker[branch]];
      if (linear.kind != ir::OpKind::kLinear || linear.inputs.size() != 1) continue;
      op.kind = ir::OpKind::kLinear;
      op.inputs = {linear.inputs[0], op.inputs[1 - side]};
      op.weights = linear.weights;
      ++n_fused;
      break;
    }
  }
  return n_fused;
}

}  // namespace cria

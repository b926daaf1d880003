#include "compile/fuse_rms_norm.h"

#include "ir/rewrite.h"

namespace cria {

int fuse_rms_norm(ir::Graph& graph) {
  const std::vector<std::size_t> maker = ir::makers(graph);
  int n_fused = 0;
  for (ir::Op& op : graph.ops) {
    if (op.kind != ir::OpKind::kMul || op.weights.size() != 1) continue;
    const std::size_t source = maker[op.inputs[0]];
    if (source == ir::kNoOp || graph.ops[source].kind != ir::OpKind::kRmsNormalize) continue;
    op.kind = ir::OpKind::kRmsNorm;
    op.inputs = graph.ops[source].inputs;
    op.attributes = graph.ops[source].attributes;
    ++n_fused;
  }
  return n_fused;
}

}  // namespace cria

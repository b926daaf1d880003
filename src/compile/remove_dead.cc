#include "compile/remove_dead.h"

#include "ir/rewrite.h"

namespace cria {

int remove_dead(ir::Graph& graph) {
  std::vector<bool> needed(graph.values.size(), false);
  std::vector<bool> dropped(graph.ops.size(), false);
  int n_dropped = 0;
  for (std::size_t i = graph.ops.size(); i-- > 0;) {
    const ir::Op& op = graph.ops[i];
    if (op.output && !needed[*op.output]) {
      dropped[i] = true;
      ++n_dropped;
      continue;
    }
    for (const ir::ValueId id : op.inputs) needed[id] = true;
  }
  if (n_dropped > 0) ir::drop_ops(graph, dropped);
  return n_dropped;
}

}  // namespace cria

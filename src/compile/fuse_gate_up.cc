#include "compile/fuse_gate_up.h"

#include <optional>

#include "ir/rewrite.h"

namespace cria {
namespace {

using ir::OpKind;

// The op that makes `value`, if it is of this kind.
const ir::Op* maker_of_kind(const ir::Graph& graph, const std::vector<std::size_t>& maker,
                            ir::ValueId value, OpKind kind) {
  const std::size_t at = maker[value];
  return at != ir::kNoOp && graph.ops[at].kind == kind ? &graph.ops[at] : nullptr;
}

bool is_plain_linear(const ir::Op* op) {
  return op != nullptr && op->inputs.size() == 1 && op->weights.size() == 1;
}

// For a product, the fused linear (without an output yet).
std::optional<ir::Op> match(const ir::Graph& graph, const std::vector<std::size_t>& maker,
                            const ir::Op& product) {
  for (int silu_side = 0; silu_side < 2; ++silu_side) {
    const ir::Op* silu = maker_of_kind(graph, maker, product.inputs[silu_side], OpKind::kSilu);
    if (silu == nullptr) continue;
    const ir::Op* gate = maker_of_kind(graph, maker, silu->inputs[0], OpKind::kLinear);
    const ir::Op* up = maker_of_kind(graph, maker, product.inputs[1 - silu_side], OpKind::kLinear);
    if (!is_plain_linear(gate) || !is_plain_linear(up) || gate->inputs != up->inputs) continue;
    return ir::Op{OpKind::kLinear, gate->inputs, {gate->weights[0], up->weights[0]}, {}, {}};
  }
  return std::nullopt;
}

}  // namespace

int fuse_gate_up(ir::Graph& graph) {
  int n_fused = 0;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (graph.ops[i].kind != OpKind::kMul || graph.ops[i].inputs.size() != 2) continue;
    std::optional<ir::Op> fused = match(graph, ir::makers(graph), graph.ops[i]);
    if (!fused) continue;
    const ir::ValueId product = *graph.ops[i].output;
    ir::Type type = graph.type(product);
    type.shape[1] *= 2;
    fused->output = ir::add_value(graph, graph.values[product].name + ".gate_up", type);
    graph.ops[i] = {OpKind::kSwiGlu, {*fused->output}, {}, product, {}};
    graph.ops.insert(graph.ops.begin() + i, std::move(*fused));
    ++i;
    ++n_fused;
  }
  return n_fused;
}

}  // namespace cria

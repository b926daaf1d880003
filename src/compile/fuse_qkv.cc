#include "compile/fuse_qkv.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "ir/rewrite.h"

namespace cria {
namespace {

using ir::OpKind;

// The plain linear behind `value`, looking through one rope; kNoOp if there is none.
std::size_t projection_of(const ir::Graph& graph, const std::vector<std::size_t>& maker,
                          ir::ValueId value) {
  std::size_t at = maker[value];
  if (at != ir::kNoOp && graph.ops[at].kind == OpKind::kRope) at = maker[graph.ops[at].inputs[0]];
  if (at == ir::kNoOp) return ir::kNoOp;
  const ir::Op& op = graph.ops[at];
  const bool plain = op.kind == OpKind::kLinear && op.inputs.size() == 1 && op.weights.size() == 1;
  return plain ? at : ir::kNoOp;
}

// Indices of the q, k and v linears of the layer that `append` belongs to.
std::optional<std::array<std::size_t, 3>> find_projections(const ir::Graph& graph,
                                                           const ir::Op& append) {
  const std::vector<std::size_t> maker = ir::makers(graph);
  const auto attention = std::find_if(graph.ops.begin(), graph.ops.end(), [&](const ir::Op& op) {
    return op.kind == OpKind::kAttention && op.attributes.layer == append.attributes.layer;
  });
  if (attention == graph.ops.end()) return std::nullopt;
  const std::array<std::size_t, 3> found = {projection_of(graph, maker, attention->inputs[0]),
                                            projection_of(graph, maker, append.inputs[0]),
                                            projection_of(graph, maker, append.inputs[1])};
  for (const std::size_t at : found) {
    if (at == ir::kNoOp) return std::nullopt;
    if (graph.ops[at].inputs[0] != graph.ops[found[0]].inputs[0]) return std::nullopt;
  }
  if (found[0] == found[1] || found[1] == found[2] || found[0] == found[2]) return std::nullopt;
  return found;
}

// The three linears become slices; the fused linear goes in front of the first of them.
void fuse(ir::Graph& graph, const std::array<std::size_t, 3>& parts, std::int64_t layer) {
  ir::Op fused{OpKind::kLinear, graph.ops[parts[0]].inputs, {}, {}, {}};
  ir::Type type = graph.type(*graph.ops[parts[0]].output);
  type.shape[1] = 0;
  for (const std::size_t part : parts) {
    fused.weights.push_back(graph.ops[part].weights[0]);
    type.shape[1] += graph.width(*graph.ops[part].output);
  }
  const ir::ValueId all = ir::add_value(graph, fmt::format("blk.{}.qkv", layer), type);
  fused.output = all;
  std::int64_t column = 0;
  for (const std::size_t part : parts) {
    ir::Op& op = graph.ops[part];
    const std::int64_t width = graph.width(*op.output);
    op = {OpKind::kSlice, {all}, {}, op.output, {.column = column, .width = width}};
    column += width;
  }
  const std::size_t first = *std::min_element(parts.begin(), parts.end());
  graph.ops.insert(graph.ops.begin() + first, std::move(fused));
}

}  // namespace

int fuse_qkv(ir::Graph& graph) {
  int n_fused = 0;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (graph.ops[i].kind != OpKind::kKvAppend) continue;
    const auto parts = find_projections(graph, graph.ops[i]);
    if (!parts) continue;
    fuse(graph, *parts, graph.ops[i].attributes.layer);
    ++i;  // the op moved one place down
    ++n_fused;
  }
  return n_fused;
}

}  // namespace cria

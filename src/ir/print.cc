#include <fmt/format.h>

#include <string>

#include "ir/text.h"

namespace cria::ir {
namespace {

std::string print_type(const Type& type) {
  std::string text = fmt::format("{}[", dtype_name(type.dtype));
  for (std::size_t i = 0; i < type.shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += type.shape[i] == kTokens ? "S" : fmt::format("{}", type.shape[i]);
  }
  return text + "]";
}

// "{layer=0, head_dim=64}", or nothing for a kind without attributes.
std::string print_attributes(const Op& op) {
  const std::uint32_t has = op_spec(op.kind).attributes;
  const Attributes& a = op.attributes;
  std::string text;
  const auto put = [&](AttributeBit bit, const char* name, auto value) {
    if ((has & bit) == 0) return;
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", name, value);
  };
  put(kHasLayer, "layer", a.layer);
  put(kHasHeads, "n_heads", a.n_heads);
  put(kHasKvHeads, "n_kv_heads", a.n_kv_heads);
  put(kHasHeadDim, "head_dim", a.head_dim);
  put(kHasColumn, "column", a.column);
  put(kHasWidth, "width", a.width);
  put(kHasBlock, "block", a.block);
  put(kHasInverse, "inverse", a.inverse);
  put(kHasEpsilon, "epsilon", a.epsilon);  // the shortest digits that read back as the same float
  put(kHasScale, "scale", a.scale);
  return text.empty() ? "" : " {" + text + "}";
}

std::string print_op(const Graph& graph, const Op& op) {
  std::string text = "  ";
  if (op.output) {
    text += fmt::format("%{}: {} = ", graph.values[*op.output].name,
                        print_type(graph.type(*op.output)));
  }
  text += fmt::format("{}(", op_spec(op.kind).name);
  for (std::size_t i = 0; i < op.inputs.size(); ++i) {
    text += fmt::format("{}%{}", i > 0 ? ", " : "", graph.values[op.inputs[i]].name);
  }
  for (std::size_t i = 0; i < op.weights.size(); ++i) {
    text += fmt::format("{} {}", i > 0 ? "," : ";", graph.weights[op.weights[i]].name);
  }
  return text + ")" + print_attributes(op) + "\n";
}

}  // namespace

std::string print_graph(const Graph& graph) {
  std::string text = fmt::format("graph {} {{\n", graph.name);
  for (const Weight& weight : graph.weights) {
    text += fmt::format("  weight {}: {} x {}\n", weight.name, weight.n_rows, weight.n_cols);
  }
  for (const ValueId id : graph.inputs) {
    text += fmt::format("  input %{}: {}\n", graph.values[id].name, print_type(graph.type(id)));
  }
  for (const Op& op : graph.ops) text += print_op(graph, op);
  return text + "}\n";
}

}  // namespace cria::ir

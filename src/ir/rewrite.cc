#include "ir/rewrite.h"

#include <algorithm>

namespace cria::ir {
namespace {

constexpr std::uint32_t kGone = 0xffffffff;

// Keeps the elements whose flag is set; returns old index -> new index (kGone if removed).
template <typename T>
std::vector<std::uint32_t> keep(std::vector<T>& elements, const std::vector<bool>& kept) {
  std::vector<std::uint32_t> new_ids(elements.size(), kGone);
  std::uint32_t next = 0;
  for (std::size_t id = 0; id < elements.size(); ++id) {
    if (!kept[id]) continue;
    new_ids[id] = next;
    if (next != id) elements[next] = std::move(elements[id]);
    ++next;
  }
  elements.erase(elements.begin() + next, elements.end());
  return new_ids;
}

}  // namespace

std::vector<std::size_t> makers(const Graph& graph) {
  std::vector<std::size_t> result(graph.values.size(), kNoOp);
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (graph.ops[i].output) result[*graph.ops[i].output] = i;
  }
  return result;
}

std::vector<std::size_t> use_counts(const Graph& graph) {
  std::vector<std::size_t> counts(graph.values.size(), 0);
  for (const Op& op : graph.ops) {
    for (const ValueId id : op.inputs) ++counts[id];
  }
  return counts;
}

void replace_uses(Graph& graph, ValueId from, ValueId to) {
  for (Op& op : graph.ops) std::replace(op.inputs.begin(), op.inputs.end(), from, to);
}

ValueId add_value(Graph& graph, const std::string& name, Type type) {
  std::string unique = name;
  const auto taken = [&](const std::string& candidate) {
    return std::any_of(graph.values.begin(), graph.values.end(),
                       [&](const Value& value) { return value.name == candidate; });
  };
  for (int suffix = 1; taken(unique); ++suffix) unique = name + "." + std::to_string(suffix);
  graph.values.push_back({unique, std::move(type)});
  return static_cast<ValueId>(graph.values.size() - 1);
}

void drop_ops(Graph& graph, const std::vector<bool>& dropped) {
  std::vector<Op> ops;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (!dropped[i]) ops.push_back(std::move(graph.ops[i]));
  }
  graph.ops = std::move(ops);

  std::vector<bool> value_kept(graph.values.size(), false);
  std::vector<bool> weight_kept(graph.weights.size(), false);
  for (const ValueId id : graph.inputs) value_kept[id] = true;
  for (const Op& op : graph.ops) {
    if (op.output) value_kept[*op.output] = true;
    for (const WeightId id : op.weights) weight_kept[id] = true;
  }
  const std::vector<std::uint32_t> value_ids = keep(graph.values, value_kept);
  const std::vector<std::uint32_t> weight_ids = keep(graph.weights, weight_kept);
  for (ValueId& id : graph.inputs) id = value_ids[id];
  for (Op& op : graph.ops) {
    for (ValueId& id : op.inputs) id = value_ids[id];
    for (WeightId& id : op.weights) id = weight_ids[id];
    if (op.output) op.output = value_ids[*op.output];
  }
}

}  // namespace cria::ir

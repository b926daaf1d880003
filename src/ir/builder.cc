#include "ir/builder.h"

#include "ir/verify.h"

namespace cria::ir {

Builder::Builder(std::string graph_name) { graph_.name = std::move(graph_name); }

WeightId Builder::weight(const std::string& name, std::int64_t n_rows, std::int64_t n_cols) {
  const auto [found, is_new] =
      weight_ids_.emplace(name, static_cast<WeightId>(graph_.weights.size()));
  if (is_new) {
    graph_.weights.push_back({name, n_rows, n_cols});
  } else if (const Weight& old = graph_.weights[found->second];
             mistake_.ok() && (old.n_rows != n_rows || old.n_cols != n_cols)) {
    mistake_ = invalid_argument("weight {} is used as {} x {} and as {} x {}", name, old.n_rows,
                                old.n_cols, n_rows, n_cols);
  }
  return found->second;
}

ValueId Builder::input(const std::string& name, Type type) {
  const auto id = static_cast<ValueId>(graph_.values.size());
  graph_.values.push_back({name, std::move(type)});
  graph_.inputs.push_back(id);
  return id;
}

ValueId Builder::append(const std::string& name, Op op) {
  op.output.reset();
  const auto id = static_cast<ValueId>(graph_.values.size());
  Result<std::optional<Type>> type = infer_type(graph_, op);
  if (!type.ok() && mistake_.ok()) {
    mistake_ = Status(type.status()).with_context(name.empty() ? "op" : name);
  }
  if (op_spec(op.kind).has_output) {
    graph_.values.push_back({name, type.ok() && *type ? **type : Type{DType::kF32, {kTokens, 1}}});
    op.output = id;
  }
  graph_.ops.push_back(std::move(op));
  return id;
}

ValueId Builder::embed(const std::string& name, ValueId tokens, WeightId table) {
  return append(name, {OpKind::kEmbed, {tokens}, {table}, {}, {}});
}

ValueId Builder::rms_normalize(const std::string& name, ValueId x, float epsilon) {
  return append(name, {OpKind::kRmsNormalize, {x}, {}, {}, {.epsilon = epsilon}});
}

ValueId Builder::mul(const std::string& name, ValueId x, ValueId y) {
  return append(name, {OpKind::kMul, {x, y}, {}, {}, {}});
}

ValueId Builder::scale(const std::string& name, ValueId x, WeightId gain) {
  return append(name, {OpKind::kMul, {x}, {gain}, {}, {}});
}

ValueId Builder::add(const std::string& name, ValueId x, ValueId y) {
  return append(name, {OpKind::kAdd, {x, y}, {}, {}, {}});
}

ValueId Builder::linear(const std::string& name, ValueId x, WeightId weight) {
  return append(name, {OpKind::kLinear, {x}, {weight}, {}, {}});
}

ValueId Builder::silu(const std::string& name, ValueId x) {
  return append(name, {OpKind::kSilu, {x}, {}, {}, {}});
}

ValueId Builder::last_row(const std::string& name, ValueId x) {
  return append(name, {OpKind::kLastRow, {x}, {}, {}, {}});
}

void Builder::output(ValueId x) { append("", {OpKind::kOutput, {x}, {}, {}, {}}); }

Result<Graph> Builder::finish() {
  CRIA_RETURN_IF_ERROR(mistake_);
  CRIA_RETURN_IF_ERROR(verify(graph_));
  return std::move(graph_);
}

}  // namespace cria::ir

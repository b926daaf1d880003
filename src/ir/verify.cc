#include "ir/verify.h"

#include <algorithm>
#include <bit>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace cria::ir {
namespace {

// Far above any model, far below where sums of widths could overflow.
constexpr std::int64_t kMaxDimension = std::int64_t{1} << 40;
constexpr std::size_t kMaxNameLength = 200;
constexpr std::size_t kMaxInputWeights = 64;

std::string describe(const Type& type) {
  std::string text = std::string(dtype_name(type.dtype)) + "[";
  for (std::size_t i = 0; i < type.shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += type.shape[i] == kTokens ? std::string("S") : std::to_string(type.shape[i]);
  }
  return text + "]";
}

bool legal_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameLength) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
  });
}

bool legal_dimension(std::int64_t dimension) {
  return dimension == kTokens || (dimension > 0 && dimension <= kMaxDimension);
}

// One op with its surroundings, so that the rule of each kind is a few lines.
class OpRules {
 public:
  OpRules(const Graph& graph, const Op& op) : graph_(graph), op_(op), spec_(op_spec(op.kind)) {}

  Result<std::optional<Type>> infer() {
    CRIA_RETURN_IF_ERROR(check_counts());
    CRIA_RETURN_IF_ERROR(check_attributes());
    switch (op_.kind) {
      case OpKind::kEmbed:
        return embed();
      case OpKind::kRmsNormalize:
      case OpKind::kSilu:
        return like_input();
      case OpKind::kMul:
      case OpKind::kAdd:
      case OpKind::kRmsNorm:
        return elementwise();
      case OpKind::kLinear:
        return linear();
      case OpKind::kRope:
        return rope();
      case OpKind::kKvAppend:
        return kv_append();
      case OpKind::kAttention:
        return attention();
      case OpKind::kSlice:
        return slice();
      case OpKind::kLastRow:
        return last_row();
      case OpKind::kOutput:
        CRIA_RETURN_IF_ERROR(need_matrix(0));
        return std::optional<Type>();
      case OpKind::kHadamard:
        return hadamard();
      case OpKind::kSwiGlu:
        return swiglu();
    }
    return mistake("is of an unknown kind");
  }

 private:
  template <typename... Args>
  Status mistake(fmt::format_string<Args...> format, Args&&... args) const {
    const std::string made = op_.output ? "%" + graph_.values[*op_.output].name + " = " : "";
    return bad_input("graph {}: {}{} {}", graph_.name, made, spec_.name,
                     fmt::format(format, std::forward<Args>(args)...));
  }

  const Type& in(std::size_t i) const { return graph_.type(op_.inputs[i]); }
  std::int64_t rows(std::size_t i) const { return in(i).shape[0]; }
  std::int64_t width(std::size_t i) const { return in(i).shape[1]; }
  const Weight& weight(std::size_t i) const { return graph_.weights[op_.weights[i]]; }
  static std::optional<Type> matrix(std::int64_t rows, std::int64_t width) {
    return Type{DType::kF32, {rows, width}};
  }

  Status check_counts() const {
    const auto n_inputs = static_cast<int>(op_.inputs.size());
    if (n_inputs < spec_.min_inputs || n_inputs > spec_.max_inputs) {
      return mistake("has {} inputs, expected {} to {}", n_inputs, spec_.min_inputs,
                     spec_.max_inputs);
    }
    const std::size_t most = spec_.max_weights < 0 ? kMaxInputWeights : spec_.max_weights;
    if (static_cast<int>(op_.weights.size()) < spec_.min_weights || op_.weights.size() > most) {
      return mistake("has {} weights, expected {} to {}", op_.weights.size(), spec_.min_weights,
                     most);
    }
    return Status();
  }

  Status check_attributes() const {
    const Attributes& a = op_.attributes;
    const auto check = [&](AttributeBit bit, std::int64_t value, std::int64_t least,
                           const char* name) -> Status {
      const bool has = (spec_.attributes & bit) != 0;
      if (!has && value != 0) return mistake("has no attribute {}", name);
      if (has && (value < least || value > kMaxDimension)) {
        return mistake("has {} = {}, expected {} to 2^40", name, value, least);
      }
      return Status();
    };
    CRIA_RETURN_IF_ERROR(check(kHasLayer, a.layer, 0, "layer"));
    CRIA_RETURN_IF_ERROR(check(kHasHeads, a.n_heads, 1, "n_heads"));
    CRIA_RETURN_IF_ERROR(check(kHasKvHeads, a.n_kv_heads, 1, "n_kv_heads"));
    CRIA_RETURN_IF_ERROR(check(kHasHeadDim, a.head_dim, 1, "head_dim"));
    CRIA_RETURN_IF_ERROR(check(kHasColumn, a.column, 0, "column"));
    CRIA_RETURN_IF_ERROR(check(kHasWidth, a.width, 1, "width"));
    CRIA_RETURN_IF_ERROR(check(kHasBlock, a.block, 1, "block"));
    CRIA_RETURN_IF_ERROR(check(kHasInverse, a.inverse, 0, "inverse"));
    const auto finite = [&](AttributeBit bit, float value, const char* name) -> Status {
      const bool has = (spec_.attributes & bit) != 0;
      if (has ? !(value >= 0 && value < 1e30f) : value != 0) {
        return mistake("has {} = {}, expected {}", name, value, has ? "0 to 1e30" : "none");
      }
      return Status();
    };
    CRIA_RETURN_IF_ERROR(finite(kHasEpsilon, a.epsilon, "epsilon"));
    return finite(kHasScale, a.scale, "scale");
  }

  // Input `i` is f32 [rows, width].
  Status need_matrix(std::size_t i) const {
    if (in(i).dtype != DType::kF32 || in(i).shape.size() != 2) {
      return mistake("takes {} as input {}, expected f32[rows, width]", describe(in(i)), i);
    }
    if (in(i).shape[1] == kTokens) return mistake("takes an input of unknown width");
    return Status();
  }

  Status need_position(std::size_t i) const {
    if (in(i) != Type{DType::kI64, {1}}) {
      return mistake("takes {} as position, expected i64[1]", describe(in(i)));
    }
    return Status();
  }

  Status need_heads(std::size_t i, std::int64_t n_heads) const {
    CRIA_RETURN_IF_ERROR(need_matrix(i));
    const std::int64_t head_dim = op_.attributes.head_dim;
    if (width(i) % head_dim != 0 || width(i) / head_dim != n_heads) {
      return mistake("takes {} columns as input {}, expected {} heads of {}", width(i), i, n_heads,
                     head_dim);
    }
    return Status();
  }

  Result<std::optional<Type>> embed() const {
    if (in(0).dtype != DType::kI64 || in(0).shape.size() != 1) {
      return mistake("takes {}, expected tokens i64[S]", describe(in(0)));
    }
    return matrix(in(0).shape[0], weight(0).n_cols);
  }

  Result<std::optional<Type>> like_input() const {
    CRIA_RETURN_IF_ERROR(need_matrix(0));
    return std::optional<Type>(in(0));
  }

  // Two equal inputs, or one and a vector of its width.
  Result<std::optional<Type>> elementwise() const {
    CRIA_RETURN_IF_ERROR(need_matrix(0));
    if (op_.inputs.size() + op_.weights.size() != 2) {
      return mistake("takes {} operands, expected 2", op_.inputs.size() + op_.weights.size());
    }
    if (op_.inputs.size() == 2 && in(0) != in(1)) {
      return mistake("takes {} and {}, expected equal types", describe(in(0)), describe(in(1)));
    }
    if (!op_.weights.empty() && (weight(0).n_rows != 1 || weight(0).n_cols != width(0))) {
      return mistake("takes {} ({} x {}), expected 1 x {}", weight(0).name, weight(0).n_rows,
                     weight(0).n_cols, width(0));
    }
    return std::optional<Type>(in(0));
  }

  Result<std::optional<Type>> linear() const {
    CRIA_RETURN_IF_ERROR(need_matrix(0));
    std::int64_t n_rows = 0;
    for (std::size_t i = 0; i < op_.weights.size(); ++i) {
      if (weight(i).n_cols != width(0)) {
        return mistake("multiplies {} columns by {}, which has {}", width(0), weight(i).name,
                       weight(i).n_cols);
      }
      n_rows += weight(i).n_rows;
    }
    if (n_rows > kMaxDimension) return mistake("makes {} columns, expected at most 2^40", n_rows);
    const std::optional<Type> type = matrix(rows(0), n_rows);
    if (op_.inputs.size() == 2 && in(1) != *type) {
      return mistake("makes {} and adds {}, expected equal types", describe(*type),
                     describe(in(1)));
    }
    return type;
  }

  Result<std::optional<Type>> rope() const {
    CRIA_RETURN_IF_ERROR(need_heads(0, op_.attributes.n_heads));
    CRIA_RETURN_IF_ERROR(need_position(1));
    const std::int64_t head_dim = op_.attributes.head_dim;
    if (head_dim % 2 != 0 || weight(0).n_rows != 1 || weight(0).n_cols != head_dim / 2) {
      return mistake("takes {} ({} x {}) for heads of {}, expected 1 x {}", weight(0).name,
                     weight(0).n_rows, weight(0).n_cols, head_dim, head_dim / 2);
    }
    return std::optional<Type>(in(0));
  }

  Result<std::optional<Type>> kv_append() const {
    CRIA_RETURN_IF_ERROR(need_heads(0, op_.attributes.n_kv_heads));
    CRIA_RETURN_IF_ERROR(need_heads(1, op_.attributes.n_kv_heads));
    CRIA_RETURN_IF_ERROR(need_position(2));
    if (rows(0) != rows(1)) return mistake("takes k and v with different numbers of rows");
    return std::optional<Type>();
  }

  Result<std::optional<Type>> attention() const {
    const Attributes& a = op_.attributes;
    CRIA_RETURN_IF_ERROR(need_heads(0, a.n_heads));
    CRIA_RETURN_IF_ERROR(need_position(1));
    if (a.n_heads % a.n_kv_heads != 0) {
      return mistake("has {} heads for {} kv heads, expected a multiple", a.n_heads, a.n_kv_heads);
    }
    return std::optional<Type>(in(0));
  }

  Result<std::optional<Type>> slice() const {
    CRIA_RETURN_IF_ERROR(need_matrix(0));
    const Attributes& a = op_.attributes;
    if (a.column + a.width > width(0)) {
      return mistake("takes columns {} to {} of {}", a.column, a.column + a.width, width(0));
    }
    return matrix(rows(0), a.width);
  }

  Result<std::optional<Type>> last_row() const {
    CRIA_RETURN_IF_ERROR(need_matrix(0));
    return matrix(1, width(0));
  }

  Result<std::optional<Type>> hadamard() const {
    CRIA_RETURN_IF_ERROR(elementwise().status());
    const Attributes& a = op_.attributes;
    if (!std::has_single_bit(static_cast<std::uint64_t>(a.block)) || width(0) % a.block != 0) {
      return mistake("has blocks of {}, expected a power of two that divides the {} columns",
                     a.block, width(0));
    }
    if (a.inverse > 1) return mistake("has inverse = {}, expected 0 or 1", a.inverse);
    return std::optional<Type>(in(0));
  }

  Result<std::optional<Type>> swiglu() const {
    CRIA_RETURN_IF_ERROR(need_matrix(0));
    if (width(0) % 2 != 0) return mistake("takes {} columns, expected an even number", width(0));
    return matrix(rows(0), width(0) / 2);
  }

  const Graph& graph_;
  const Op& op_;
  const OpSpec& spec_;
};

// The rules that concern more than one op.
class GraphRules {
 public:
  explicit GraphRules(const Graph& graph) : graph_(graph), made_(graph.values.size(), false) {}

  Status check() {
    CRIA_RETURN_IF_ERROR(check_weights());
    CRIA_RETURN_IF_ERROR(check_values());
    for (const ValueId id : graph_.inputs) CRIA_RETURN_IF_ERROR(make(id));
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      CRIA_RETURN_IF_ERROR(check_op(graph_.ops[i]).with_context(fmt::format("op {}", i)));
    }
    if (n_outputs_ != 1) {
      return bad_input("graph {}: {} output ops, expected 1", graph_.name, n_outputs_);
    }
    for (std::size_t id = 0; id < made_.size(); ++id) {
      if (!made_[id]) {
        return bad_input("graph {}: value %{} is never made", graph_.name, graph_.values[id].name);
      }
    }
    return Status();
  }

 private:
  Status check_weights() const {
    if (!legal_name(graph_.name)) return bad_input("graph name '{}' is not legal", graph_.name);
    std::unordered_set<std::string_view> names;
    for (const Weight& weight : graph_.weights) {
      if (!legal_name(weight.name) || !names.insert(weight.name).second) {
        return bad_input("graph {}: weight name '{}' is not legal or not unique", graph_.name,
                         weight.name);
      }
      if (weight.n_rows <= 0 || weight.n_rows > kMaxDimension || weight.n_cols <= 0 ||
          weight.n_cols > kMaxDimension) {
        return bad_input("graph {}: weight {} is {} x {}, expected 1 to 2^40", graph_.name,
                         weight.name, weight.n_rows, weight.n_cols);
      }
    }
    return Status();
  }

  Status check_values() const {
    std::unordered_set<std::string_view> names;
    for (const Value& value : graph_.values) {
      if (!legal_name(value.name) || !names.insert(value.name).second) {
        return bad_input("graph {}: value name '{}' is not legal or not unique", graph_.name,
                         value.name);
      }
      const std::vector<std::int64_t>& shape = value.type.shape;
      if (shape.empty() || shape.size() > 2 ||
          !std::all_of(shape.begin(), shape.end(), legal_dimension)) {
        return bad_input("graph {}: value %{} has type {}, expected 1 or 2 dimensions", graph_.name,
                         value.name, describe(value.type));
      }
    }
    return Status();
  }

  Status make(ValueId id) {
    if (id >= made_.size()) return bad_input("graph {}: value {} out of range", graph_.name, id);
    if (made_[id]) {
      return bad_input("graph {}: value %{} is made twice", graph_.name, graph_.values[id].name);
    }
    made_[id] = true;
    return Status();
  }

  Status check_op(const Op& op) {
    for (const ValueId id : op.inputs) {
      if (id >= made_.size() || !made_[id]) {
        return bad_input("graph {}: {} uses {} before it is made", graph_.name,
                         op_spec(op.kind).name,
                         id < made_.size() ? "%" + graph_.values[id].name : std::to_string(id));
      }
    }
    for (const WeightId id : op.weights) {
      if (id >= graph_.weights.size()) {
        return bad_input("graph {}: weight {} out of range", graph_.name, id);
      }
    }
    if (op.output.has_value() != op_spec(op.kind).has_output) {
      return bad_input("graph {}: {} must{} make a value", graph_.name, op_spec(op.kind).name,
                       op.output ? " not" : "");
    }
    if (op.output) CRIA_RETURN_IF_ERROR(make(*op.output));
    CRIA_ASSIGN_OR_RETURN(const std::optional<Type> type, infer_type(graph_, op));
    if (type && *type != graph_.type(*op.output)) {
      return bad_input("graph {}: %{} is declared {}, {} makes {}", graph_.name,
                       graph_.values[*op.output].name, describe(graph_.type(*op.output)),
                       op_spec(op.kind).name, describe(*type));
    }
    if (op.kind == OpKind::kOutput) ++n_outputs_;
    return check_cache(op);
  }

  Status check_cache(const Op& op) {
    const Attributes& a = op.attributes;
    if (op.kind == OpKind::kKvAppend) {
      if (!appended_.emplace(a.layer, &op).second) {
        return bad_input("graph {}: a second kv_append of layer {}", graph_.name, a.layer);
      }
    } else if (op.kind == OpKind::kAttention) {
      const auto found = appended_.find(a.layer);
      if (found == appended_.end()) {
        return bad_input("graph {}: attention of layer {} before its kv_append", graph_.name,
                         a.layer);
      }
      const Attributes& cache = found->second->attributes;
      if (cache.n_kv_heads != a.n_kv_heads || cache.head_dim != a.head_dim) {
        return bad_input(
            "graph {}: attention of layer {} reads {} heads of {}, the cache has {} of {}",
            graph_.name, a.layer, a.n_kv_heads, a.head_dim, cache.n_kv_heads, cache.head_dim);
      }
    }
    return Status();
  }

  const Graph& graph_;
  std::vector<bool> made_;
  std::unordered_map<std::int64_t, const Op*> appended_;
  int n_outputs_ = 0;
};

}  // namespace

Result<std::optional<Type>> infer_type(const Graph& graph, const Op& op) {
  return OpRules(graph, op).infer();
}

Status verify(const Graph& graph) { return GraphRules(graph).check(); }

}  // namespace cria::ir

#include "targets/lower_to_plan.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "ir/rewrite.h"
#include "targets/memory_planner.h"

namespace cria {
namespace {

using ir::OpKind;
using ir::ValueId;

// Where a value lies: columns [column, column + width) of a buffer.
struct Place {
  std::uint32_t buffer = kNoBuffer;
  std::int64_t column = 0;
};

class PlanLowering {
 public:
  PlanLowering(const ir::Graph& graph, const MethodRequest& request)
      : graph_(graph), request_(request), maker_(ir::makers(graph)), places_(graph.values.size()) {}

  Result<Plan> run() {
    plan_.max_tokens = request_.max_tokens;
    if (graph_.ops.empty() || graph_.ops.back().kind != OpKind::kOutput) {
      return unsupported("graph {}: the output must be the last op", graph_.name);
    }
    plan_.n_vocab = graph_.width(graph_.ops.back().inputs[0]);
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      at_ = i;
      CRIA_RETURN_IF_ERROR(lower(graph_.ops[i])
                               .with_context(fmt::format("graph {}, op {} ({})", graph_.name, i,
                                                         ir::op_spec(graph_.ops[i].kind).name)));
    }
    CRIA_RETURN_IF_ERROR(choose_cache_types());
    place_buffers();
    if (const Status status = verify_plan(plan_); !status.ok()) {
      return internal_error("the plan of {} is malformed: {}", graph_.name, status.message());
    }
    return std::move(plan_);
  }

 private:
  Status lower(const ir::Op& op) {
    switch (op.kind) {
      case OpKind::kEmbed:
        plan_.ops.push_back({.kind = PlanOpKind::kEmbed,
                             .out = new_buffer(*op.output),
                             .weights = {matrix(op.weights[0])}});
        return Status();
      case OpKind::kRmsNorm:
        return elementwise(op, PlanOpKind::kRmsNorm);
      case OpKind::kSilu:
        return elementwise(op, PlanOpKind::kSilu);
      case OpKind::kSwiGlu:
        return elementwise(op, PlanOpKind::kSwiGlu);
      case OpKind::kAdd:
        return elementwise(op, PlanOpKind::kAdd);
      case OpKind::kMul:
        return elementwise(op, PlanOpKind::kMul);
      case OpKind::kLastRow:
        return elementwise(op, PlanOpKind::kLastRow);
      case OpKind::kOutput:
        return elementwise(op, PlanOpKind::kOutput);
      case OpKind::kHadamard:
        return elementwise(op, PlanOpKind::kHadamard);
      case OpKind::kLinear:
        return linear(op);
      case OpKind::kRope:
        return rope(op);
      case OpKind::kKvAppend:
        return kv_append(op);
      case OpKind::kAttention:
        return attention(op);
      case OpKind::kSlice:
        return Status();  // place_of() looks through it
      case OpKind::kRmsNormalize:
        return unsupported("only as a part of rms_norm");
    }
    return unsupported("unknown kind");
  }

  // The value behind any number of slices, and where in it `value` begins.
  std::pair<ValueId, std::int64_t> base_of(ValueId value) const {
    std::int64_t column = 0;
    while (maker_[value] != ir::kNoOp && graph_.ops[maker_[value]].kind == OpKind::kSlice) {
      column += graph_.ops[maker_[value]].attributes.column;
      value = graph_.ops[maker_[value]].inputs[0];
    }
    return {value, column};
  }

  // No place (kNoBuffer) for inputs and for values that are not made yet.
  Place place_of(ValueId value) const {
    const auto [base, column] = base_of(value);
    Place place = places_[base];
    place.column += column;
    return place;
  }

  Result<std::uint32_t> whole_buffer(ValueId value) const {
    const Place place = place_of(value);
    if (place.buffer == kNoBuffer || place.column != 0 ||
        plan_.buffers[place.buffer].width != graph_.width(value)) {
      return unsupported("takes columns of a wider value (%{})", graph_.values[value].name);
    }
    return place.buffer;
  }

  std::uint32_t new_buffer(ValueId value) {
    const auto id = static_cast<std::uint32_t>(plan_.buffers.size());
    plan_.buffers.push_back({.name = graph_.values[value].name,
                             .width = graph_.width(value),
                             .single_row = graph_.type(value).shape[0] == 1});
    places_[value] = {id, 0};
    return id;
  }

  std::uint32_t add_weight(ir::WeightId id, bool packed) {
    const ir::Weight& weight = graph_.weights[id];
    const PlanWeight entry{weight.name, packed ? request_.encoding_of(weight) : Encoding::kF32,
                           packed, weight.n_rows, weight.n_cols};
    const auto found = std::find(plan_.weights.begin(), plan_.weights.end(), entry);
    if (found == plan_.weights.end()) {
      plan_.weights.push_back(entry);
      return static_cast<std::uint32_t>(plan_.weights.size() - 1);
    }
    return static_cast<std::uint32_t>(found - plan_.weights.begin());
  }
  std::uint32_t matrix(ir::WeightId id) { return add_weight(id, true); }
  std::uint32_t vector(ir::WeightId id) { return add_weight(id, false); }

  // Whether an op after the current one reads what `old_value` holds now, in part or in whole.
  bool needed_later(ValueId old_value) const {
    const Place place = place_of(old_value);
    const std::int64_t end = place.column + graph_.width(old_value);
    for (std::size_t i = at_ + 1; i < graph_.ops.size(); ++i) {
      if (graph_.ops[i].kind == OpKind::kSlice) continue;  // its readers count
      for (const ValueId input : graph_.ops[i].inputs) {
        const Place read = place_of(input);
        if (read.buffer != kNoBuffer && read.buffer == place.buffer && read.column < end &&
            place.column < read.column + graph_.width(input)) {
          return true;
        }
      }
    }
    return false;
  }

  // One or two whole inputs, perhaps a vector, a buffer of its own for the result.
  Status elementwise(const ir::Op& op, PlanOpKind kind) {
    PlanOp made{.kind = kind,
                .epsilon = op.attributes.epsilon,
                .block = op.attributes.block,
                .inverse = op.attributes.inverse != 0};
    CRIA_ASSIGN_OR_RETURN(made.x, whole_buffer(op.inputs[0]));
    if (op.inputs.size() > 1) {
      CRIA_ASSIGN_OR_RETURN(made.y, whole_buffer(op.inputs[1]));
    }
    if (op.kind == OpKind::kMul && !op.weights.empty()) return unsupported("has a gain");
    for (const ir::WeightId id : op.weights) made.weights.push_back(vector(id));
    if (op.output) made.out = new_buffer(*op.output);
    plan_.ops.push_back(std::move(made));
    return Status();
  }

  Status linear(const ir::Op& op) {
    PlanOp made{.kind = PlanOpKind::kLinear};
    CRIA_ASSIGN_OR_RETURN(made.x, whole_buffer(op.inputs[0]));
    for (const ir::WeightId id : op.weights) made.weights.push_back(matrix(id));
    if (op.inputs.size() == 1) {
      made.out = new_buffer(*op.output);
      plan_.ops.push_back(std::move(made));
      return Status();
    }
    CRIA_ASSIGN_OR_RETURN(const std::uint32_t residual, whole_buffer(op.inputs[1]));
    if (residual != made.x && !needed_later(op.inputs[1])) {
      made.out = residual;
      made.accumulate = true;
      places_[*op.output] = {residual, 0};
      plan_.ops.push_back(std::move(made));
      return Status();
    }
    const std::uint32_t product = new_buffer(*op.output);
    made.out = product;
    plan_.buffers[product].name += ".product";
    plan_.ops.push_back(std::move(made));
    plan_.ops.push_back(
        {.kind = PlanOpKind::kAdd, .x = product, .y = residual, .out = new_buffer(*op.output)});
    return Status();
  }

  Status rope(const ir::Op& op) {
    const Place place = place_of(op.inputs[0]);
    if (place.buffer == kNoBuffer) return unsupported("takes an input of the method");
    CRIA_RETURN_IF_ERROR(fits_cache(op));
    if (needed_later(op.inputs[0])) {
      return unsupported("works in place, but %{} is used later", graph_.values[op.inputs[0]].name);
    }
    places_[*op.output] = place;
    PlanOp made{.kind = PlanOpKind::kRope,
                .out = place.buffer,
                .weights = {vector(op.weights[0])},
                .column = place.column,
                .n_heads = static_cast<std::int32_t>(op.attributes.n_heads)};
    // The heads of q and k lie side by side: one op rotates both.
    if (!plan_.ops.empty()) {
      PlanOp& last = plan_.ops.back();
      if (last.kind == PlanOpKind::kRope && last.out == made.out && last.weights == made.weights &&
          last.column + last.n_heads * op.attributes.head_dim == made.column) {
        last.n_heads += made.n_heads;
        return Status();
      }
    }
    plan_.ops.push_back(std::move(made));
    return Status();
  }

  Status choose_cache_types() {
    if (plan_.kv.head_dim == 0) return Status();
    plan_.kv.k_type = request_.k_type;
    plan_.kv.v_type = request_.v_type;
    for (KvType type : {request_.k_type, request_.v_type}) {
      if (kv_type_fits(type, plan_.kv.head_dim)) continue;
      return unsupported("a KV cache in {} needs heads of a multiple of {} values, these have {}",
                         kv_type_name(type), kColumnGroup, plan_.kv.head_dim);
    }
    return Status();
  }

  // All heads of a plan have one size, all layers one number of them.
  Status fits_cache(const ir::Op& op) {
    const ir::Attributes& a = op.attributes;
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max() / 2;
    if (a.layer > kMost || a.n_heads > kMost || a.n_kv_heads > kMost || a.head_dim > kMost) {
      return unsupported("has an attribute above {}", kMost);
    }
    const auto agree = [&](std::int32_t& shared, std::int64_t own, const char* what) -> Status {
      if (own == 0) return Status();  // the kind has no such attribute
      if (shared != 0 && shared != own)
        return unsupported("has {} {}, earlier ops {}", what, own, shared);
      shared = static_cast<std::int32_t>(own);
      return Status();
    };
    CRIA_RETURN_IF_ERROR(agree(plan_.kv.head_dim, a.head_dim, "head_dim"));
    return agree(plan_.kv.n_kv_heads, a.n_kv_heads, "n_kv_heads");
  }

  Status kv_append(const ir::Op& op) {
    CRIA_RETURN_IF_ERROR(fits_cache(op));
    const Place k = place_of(op.inputs[0]);
    const Place v = place_of(op.inputs[1]);
    if (k.buffer == kNoBuffer || k.buffer != v.buffer) {
      return unsupported("takes k and v from different values, expected one qkv");
    }
    if (op.attributes.layer != plan_.kv.n_layers) {
      return unsupported("of layer {}, expected layer {}", op.attributes.layer, plan_.kv.n_layers);
    }
    ++plan_.kv.n_layers;
    plan_.ops.push_back({.kind = PlanOpKind::kKvAppend,
                         .x = k.buffer,
                         .layer = static_cast<std::int32_t>(op.attributes.layer),
                         .column = k.column,
                         .column_v = v.column});
    return Status();
  }

  Status attention(const ir::Op& op) {
    CRIA_RETURN_IF_ERROR(fits_cache(op));
    const Place q = place_of(op.inputs[0]);
    if (q.buffer == kNoBuffer) return unsupported("takes an input of the method");
    if (request_.split_attention > 0) return split_attention(op, q);
    plan_.ops.push_back({.kind = PlanOpKind::kAttention,
                         .x = q.buffer,
                         .out = new_buffer(*op.output),
                         .scale = op.attributes.scale,
                         .layer = static_cast<std::int32_t>(op.attributes.layer),
                         .column = q.column,
                         .n_heads = static_cast<std::int32_t>(op.attributes.n_heads)});
    return Status();
  }

  Status split_attention(const ir::Op& op, const Place& q) {
    if (request_.max_context < 1) return unsupported("in three ops needs the longest context");
    const auto n_kv_heads = static_cast<std::int32_t>(op.attributes.n_kv_heads);
    const auto n_heads = static_cast<std::int32_t>(op.attributes.n_heads);
    // Two groups of heads where there is enough to do: while one device has the scores of the
    // second, the other makes weights of the first. A single token is not worth the more handoffs.
    const bool two = request_.split_attention > 1 && request_.max_tokens > 1 && n_kv_heads % 2 == 0;
    PlanOp made{.layer = static_cast<std::int32_t>(op.attributes.layer),
                .n_heads = two ? n_heads / 2 : n_heads,
                .n_kv_heads = two ? n_kv_heads / 2 : n_kv_heads,
                .block = (request_.max_context + kScorePositions - 1) / kScorePositions};
    std::vector<std::uint32_t> rows;
    for (std::int32_t head = 0; head < n_kv_heads; head += made.n_kv_heads) {
      rows.push_back(static_cast<std::uint32_t>(plan_.buffers.size()));
      plan_.buffers.push_back(
          {.name = fmt::format("{}.scores{}", graph_.values[*op.output].name, rows.size() - 1),
           .width = made.n_heads * made.block * kScoreRecord});
      PlanOp scores = made;
      scores.kind = PlanOpKind::kScores;
      scores.kv_head = head;
      scores.x = q.buffer;
      scores.out = rows.back();
      scores.scale = op.attributes.scale;
      scores.column = q.column + head * (n_heads / n_kv_heads) * op.attributes.head_dim;
      plan_.ops.push_back(std::move(scores));
    }
    const std::uint32_t out = new_buffer(*op.output);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      made.kind = PlanOpKind::kSoftmax;
      made.kv_head = static_cast<std::int32_t>(i) * made.n_kv_heads;
      made.x = kNoBuffer;
      made.out = rows[i];
      plan_.ops.push_back(made);
      made.kind = PlanOpKind::kMix;
      made.x = rows[i];
      made.out = out;
      plan_.ops.push_back(made);
    }
    return Status();
  }

  // A buffer lives from the first to the last op that names it: each is made for one value, and
  // what works in place continues that value.
  void place_buffers() {
    std::vector<BufferLife> lives(plan_.buffers.size());
    std::vector<bool> seen(plan_.buffers.size(), false);
    for (std::size_t i = 0; i < plan_.ops.size(); ++i) {
      for (const std::uint32_t id : {plan_.ops[i].x, plan_.ops[i].y, plan_.ops[i].out}) {
        if (id == kNoBuffer) continue;
        if (!seen[id]) lives[id].first = i;
        seen[id] = true;
        lives[id].last = i;
      }
    }
    for (std::size_t id = 0; id < lives.size(); ++id) {
      const PlanBuffer& buffer = plan_.buffers[id];
      lives[id].size_bytes = static_cast<std::uint64_t>(buffer.width) * sizeof(float) *
                             (buffer.single_row ? 1 : plan_.max_tokens);
    }
    const MemoryPlan memory = plan_memory(lives);
    for (std::size_t id = 0; id < lives.size(); ++id) {
      plan_.buffers[id].offset_bytes = memory.offsets[id];
    }
    plan_.scratch_bytes = memory.size_bytes;
  }

  const ir::Graph& graph_;
  const MethodRequest& request_;
  const std::vector<std::size_t> maker_;
  std::vector<Place> places_;  // by value; of slices: their base's
  std::size_t at_ = 0;         // index of the op being lowered
  Plan plan_;
};

}  // namespace

Support plan_supports(const ir::Graph& graph, const ir::Op& op) {
  if (op.kind == OpKind::kRmsNormalize) return {false, "only as a part of rms_norm"};
  if (op.kind == OpKind::kMul && !op.weights.empty()) return {false, "only as a part of rms_norm"};
  const bool has_heads = op.attributes.head_dim != 0;
  if (has_heads && op.attributes.head_dim % 2 != 0) return {false, "odd head_dim"};
  if (has_heads && graph.type(op.inputs[0]).shape[0] != ir::kTokens) {
    return {false, "heads of a single row"};
  }
  return {true, ""};
}

Status check_method(const Target& target, const ir::Graph& graph, const MethodRequest& request) {
  const std::int64_t most = target.limits().max_tokens;
  if (request.max_tokens < 1 || request.max_tokens > most) {
    return unsupported("{}: method {} with {} tokens a call, expected 1 to {}", target.name(),
                       graph.name, request.max_tokens, most);
  }
  const bool takes_call = graph.inputs.size() == 2 &&
                          graph.type(graph.inputs[0]) == ir::Type{ir::DType::kI64, {ir::kTokens}} &&
                          graph.type(graph.inputs[1]) == ir::Type{ir::DType::kI64, {1}};
  if (!takes_call) {
    return unsupported("{}: method {} must take tokens i64[S] and position i64[1]", target.name(),
                       graph.name);
  }
  for (const ir::Op& op : graph.ops) {
    if (const Support support = target.supports(graph, op); !support.supported) {
      return unsupported("{}: {} of method {}: {}", target.name(), ir::op_spec(op.kind).name,
                         graph.name, support.reason);
    }
  }
  return Status();
}

Result<Plan> lower_to_plan(const ir::Graph& graph, const MethodRequest& request) {
  return PlanLowering(graph, request).run();
}

}  // namespace cria

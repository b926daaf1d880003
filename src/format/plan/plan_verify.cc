// verify_plan(): every rule that plan.h states.
//
// Sizes are limited so that no product below can overflow: rows <= 2^20, widths < 2^31, heads and
// head_dim <= 2^16.
#include <bit>
#include <cmath>
#include <unordered_map>

#include "base/aligned_buffer.h"
#include "format/plan/plan.h"

namespace cria {
namespace {

constexpr std::int64_t kMaxTokens = std::int64_t{1} << 20;
constexpr std::int64_t kMaxWidth = 0x7fffffff;
constexpr std::int32_t kMaxLayers = 4096;
constexpr std::int32_t kMaxHeads = 65536;
constexpr std::uint64_t kMaxScratchBytes = std::uint64_t{1} << 40;
constexpr std::size_t kMaxWeights = 16384;
constexpr std::size_t kMaxBuffers = 4096;
constexpr std::size_t kMaxOps = 16384;
constexpr std::size_t kMaxTextBytes = 1024;

bool in_range(std::int64_t value, std::int64_t low, std::int64_t high) {
  return value >= low && value <= high;
}

Status verify_kv(const KvShape& kv) {
  const bool none = kv.n_layers == 0 && kv.n_kv_heads == 0 && kv.head_dim == 0;
  const bool some = in_range(kv.n_layers, 1, kMaxLayers) && in_range(kv.n_kv_heads, 1, kMaxHeads) &&
                    in_range(kv.head_dim, 1, kMaxHeads) && kv.head_dim % 2 == 0;
  if (none || some) {
    for (KvType type : {kv.k_type, kv.v_type}) {
      if (kv_type_fits(type, kv.head_dim)) continue;
      return bad_input("kv cache in {} with head_dim {}, expected a multiple of {}",
                       kv_type_name(type), kv.head_dim, kColumnGroup);
    }
    return {};
  }
  return bad_input(
      "kv cache of {} layers, {} heads, head_dim {}: expected all zero or all "
      "positive, within {}, {}, {}, and an even head_dim",
      kv.n_layers, kv.n_kv_heads, kv.head_dim, kMaxLayers, kMaxHeads, kMaxHeads);
}

Status verify_limits(const Plan& plan) {
  if (!in_range(plan.max_tokens, 1, kMaxTokens)) {
    return bad_input("max_tokens is {}, expected 1 to {}", plan.max_tokens, kMaxTokens);
  }
  if (!in_range(plan.n_vocab, 1, kMaxWidth)) {
    return bad_input("n_vocab is {}, expected 1 to {}", plan.n_vocab, kMaxWidth);
  }
  if (plan.scratch_bytes > kMaxScratchBytes) {
    return bad_input("scratch_bytes is {}, at most {} are allowed", plan.scratch_bytes,
                     kMaxScratchBytes);
  }
  if (plan.weights.size() > kMaxWeights || plan.buffers.size() > kMaxBuffers ||
      plan.ops.size() > kMaxOps) {
    return bad_input("{} weights, {} buffers, {} ops: at most {}, {}, {} are allowed",
                     plan.weights.size(), plan.buffers.size(), plan.ops.size(), kMaxWeights,
                     kMaxBuffers, kMaxOps);
  }
  return verify_kv(plan.kv);
}

Status verify_weights(const Plan& plan) {
  std::unordered_map<std::string_view, const PlanWeight*> by_key;
  for (const PlanWeight& weight : plan.weights) {
    if (weight.key.empty() || weight.key.size() > kMaxTextBytes) {
      return bad_input("a weight's key has {} bytes, expected 1 to {}", weight.key.size(),
                       kMaxTextBytes);
    }
    if (!in_range(weight.n_rows, 1, kMaxWidth) || !in_range(weight.n_cols, 1, kMaxWidth)) {
      return bad_input("weight '{}' is [{}, {}], expected sizes from 1 to {}", weight.key,
                       weight.n_rows, weight.n_cols, kMaxWidth);
    }
    if (static_cast<int>(weight.encoding) >= kEncodingCount) {
      return bad_input("weight '{}' has encoding {}, known are 0 to {}", weight.key,
                       static_cast<int>(weight.encoding), kEncodingCount - 1);
    }
    if (!weight.packed && (weight.n_rows != 1 || weight.encoding != Encoding::kF32)) {
      return bad_input("weight '{}' is not packed: expected one row of f32, got {} rows of {}",
                       weight.key, weight.n_rows, encoding_spec(weight.encoding).name);
    }
    const auto [entry, is_new] = by_key.emplace(weight.key, &weight);
    if (!is_new && !(*entry->second == weight)) {
      return bad_input("weight '{}' is described twice, and differently", weight.key);
    }
  }
  return {};
}

std::uint64_t buffer_bytes(const Plan& plan, const PlanBuffer& buffer) {
  const std::int64_t n_rows = buffer.single_row ? 1 : plan.max_tokens;
  return static_cast<std::uint64_t>(n_rows * buffer.width) * sizeof(float);
}

Status verify_buffers(const Plan& plan) {
  for (const PlanBuffer& buffer : plan.buffers) {
    if (buffer.name.size() > kMaxTextBytes) {
      return bad_input("a buffer's name has {} bytes, at most {} are allowed", buffer.name.size(),
                       kMaxTextBytes);
    }
    if (!in_range(buffer.width, 1, kMaxWidth)) {
      return bad_input("buffer '{}' has width {}, expected 1 to {}", buffer.name, buffer.width,
                       kMaxWidth);
    }
    if (buffer.offset_bytes % kVectorAlignment != 0) {
      return bad_input("buffer '{}' starts at {}, expected a multiple of {}", buffer.name,
                       buffer.offset_bytes, kVectorAlignment);
    }
    const std::uint64_t size_bytes = buffer_bytes(plan, buffer);
    if (size_bytes > plan.scratch_bytes || buffer.offset_bytes > plan.scratch_bytes - size_bytes) {
      return bad_input("buffer '{}' needs {} bytes at {}, the scratch area has {}", buffer.name,
                       size_bytes, buffer.offset_bytes, plan.scratch_bytes);
    }
  }
  return {};
}

Status verify_imports(const Plan& plan) {
  if (!plan.is_part && !plan.imports.empty()) {
    return bad_input("imports {} buffers, which only a part of a method can", plan.imports.size());
  }
  for (const std::uint32_t buffer : plan.imports) {
    if (buffer < plan.buffers.size()) continue;
    return bad_input("imports buffer {}, the plan has {}", buffer, plan.buffers.size());
  }
  return {};
}

// Which of x, y, out a kind has, how many weights, and whether those are packed matrices.
struct OpForm {
  bool x, y, out;
  std::size_t weights_min, weights_max;
  bool packed;
};
constexpr OpForm kForms[kPlanOpKindCount] = {
    {false, false, true, 1, 1, true},           // kEmbed
    {true, false, true, 1, 1, false},           // kRmsNorm
    {true, false, true, 1, kMaxWeights, true},  // kLinear
    {false, false, true, 1, 1, false},          // kRope
    {true, false, false, 0, 0, false},          // kKvAppend
    {true, false, true, 0, 0, false},           // kAttention
    {true, false, true, 0, 0, false},           // kSwiGlu
    {true, true, true, 0, 0, false},            // kAdd
    {true, true, true, 0, 0, false},            // kMul
    {true, false, true, 0, 0, false},           // kSilu
    {true, false, true, 0, 0, false},           // kLastRow
    {true, false, false, 0, 0, false},          // kOutput
    {true, false, true, 1, 1, false},           // kHadamard
    {true, false, true, 0, 0, false},           // kScores
    {false, false, true, 0, 0, false},          // kSoftmax
    {true, false, true, 0, 0, false},           // kMix
};

// Checks the ops one after the other, remembering what the earlier ones left behind.
class OpVerifier {
 public:
  explicit OpVerifier(const Plan& plan)
      : plan_(plan), holds_value_(plan.buffers.size()), appended_(plan.kv.n_layers, plan.is_part) {
    for (const std::uint32_t buffer : plan.imports) holds_value_[buffer] = true;
  }

  Status verify(const PlanOp& op) {
    CRIA_RETURN_IF_ERROR(verify_form(op));
    CRIA_RETURN_IF_ERROR(verify_shapes(op));
    return follow_data(op);
  }
  int n_outputs() const { return n_outputs_; }

 private:
  Status verify_form(const PlanOp& op);
  Status verify_operand(std::uint32_t index, bool expected, const char* name) const;
  Status verify_shapes(const PlanOp& op);
  Status verify_same_shape(const PlanOp& op) const;
  Status verify_embed(const PlanOp& op) const;
  Status verify_rms_norm(const PlanOp& op) const;
  Status verify_linear(const PlanOp& op) const;
  Status verify_rope(const PlanOp& op) const;
  Status verify_kv_append(const PlanOp& op);
  Status verify_attention(const PlanOp& op) const;
  Status verify_queries(const PlanOp& op) const;
  Status verify_split_attention(const PlanOp& op) const;
  Status verify_score_row(const PlanOp& op, const PlanBuffer& buffer) const;
  Status verify_swiglu(const PlanOp& op) const;
  Status verify_last_row(const PlanOp& op) const;
  Status verify_output(const PlanOp& op);
  Status verify_hadamard(const PlanOp& op) const;
  Status verify_layer(const PlanOp& op) const;
  Status verify_heads(const PlanBuffer& buffer, std::int64_t column, std::int64_t n_heads) const;
  Status verify_row_per_token(const PlanBuffer& buffer) const;
  Status verify_same_rows(const PlanOp& op) const;
  Status follow_data(const PlanOp& op);

  const PlanBuffer& x(const PlanOp& op) const { return plan_.buffers[op.x]; }
  const PlanBuffer& out(const PlanOp& op) const { return plan_.buffers[op.out]; }
  const PlanWeight& weight(const PlanOp& op) const { return plan_.weights[op.weights[0]]; }

  const Plan& plan_;
  std::vector<bool> holds_value_;  // a buffer was written, and nothing has overwritten it
  std::vector<bool> appended_;     // a layer's keys and values of this call are in the cache
  int n_outputs_ = 0;
};

Status OpVerifier::verify_operand(std::uint32_t index, bool expected, const char* name) const {
  if (!expected && index != kNoBuffer) {
    return bad_input("has operand {} = {}, expected none", name, index);
  }
  if (expected && index >= plan_.buffers.size()) {
    return bad_input("operand {} is buffer {}, the plan has {}", name, index, plan_.buffers.size());
  }
  return {};
}

Status OpVerifier::verify_form(const PlanOp& op) {
  const OpForm& form = kForms[static_cast<int>(op.kind)];
  CRIA_RETURN_IF_ERROR(verify_operand(op.x, form.x, "x"));
  CRIA_RETURN_IF_ERROR(verify_operand(op.y, form.y, "y"));
  CRIA_RETURN_IF_ERROR(verify_operand(op.out, form.out, "out"));
  if (op.weights.size() < form.weights_min || op.weights.size() > form.weights_max) {
    return bad_input("has {} weights, expected {} to {}", op.weights.size(), form.weights_min,
                     form.weights_max);
  }
  for (std::uint32_t index : op.weights) {
    if (index >= plan_.weights.size()) {
      return bad_input("uses weight {}, the plan has {}", index, plan_.weights.size());
    }
    if (plan_.weights[index].packed != form.packed) {
      return bad_input("weight '{}' is {}, expected {}", plan_.weights[index].key,
                       form.packed ? "a plain vector" : "a packed matrix",
                       form.packed ? "a packed matrix" : "a plain vector");
    }
  }
  if (op.accumulate && op.kind != PlanOpKind::kLinear) {
    return bad_input("accumulates, which only linear can");
  }
  const bool has_records = plan_op_has_score_rows(op);
  if (op.kind != PlanOpKind::kHadamard && ((op.block != 0 && !has_records) || op.inverse)) {
    return bad_input("has blocks of {}, inverse {}, which only hadamard has", op.block, op.inverse);
  }
  if (!has_records && (op.kv_head != 0 || op.n_kv_heads != 0)) {
    return bad_input("has heads [{}, +{}), which only scores, softmax and mix have", op.kv_head,
                     op.n_kv_heads);
  }
  if (!std::isfinite(op.epsilon) || op.epsilon < 0 || !std::isfinite(op.scale) || op.scale < 0) {
    return bad_input("epsilon {} and scale {}: expected finite numbers that are not negative",
                     op.epsilon, op.scale);
  }
  return {};
}

Status OpVerifier::verify_shapes(const PlanOp& op) {
  switch (op.kind) {
    case PlanOpKind::kEmbed:
      return verify_embed(op);
    case PlanOpKind::kRmsNorm:
      return verify_rms_norm(op);
    case PlanOpKind::kLinear:
      return verify_linear(op);
    case PlanOpKind::kRope:
      return verify_rope(op);
    case PlanOpKind::kKvAppend:
      return verify_kv_append(op);
    case PlanOpKind::kAttention:
      return verify_attention(op);
    case PlanOpKind::kSwiGlu:
      return verify_swiglu(op);
    case PlanOpKind::kAdd:
    case PlanOpKind::kMul:
    case PlanOpKind::kSilu:
      return verify_same_shape(op);
    case PlanOpKind::kLastRow:
      return verify_last_row(op);
    case PlanOpKind::kOutput:
      return verify_output(op);
    case PlanOpKind::kHadamard:
      return verify_hadamard(op);
    case PlanOpKind::kScores:
    case PlanOpKind::kSoftmax:
    case PlanOpKind::kMix:
      return verify_split_attention(op);
  }
  return bad_input("kind {} is not known", static_cast<int>(op.kind));
}

Status OpVerifier::verify_same_rows(const PlanOp& op) const {
  if (x(op).single_row == out(op).single_row) return {};
  return bad_input("'{}' and '{}' differ: one has a single row, the other a row a token",
                   x(op).name, out(op).name);
}

Status OpVerifier::verify_same_shape(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_same_rows(op));
  const PlanBuffer& y = op.y == kNoBuffer ? x(op) : plan_.buffers[op.y];
  if (x(op).width != out(op).width || y.width != out(op).width ||
      y.single_row != out(op).single_row) {
    return bad_input("operands of widths {} and {} give width {}, expected equal shapes",
                     x(op).width, y.width, out(op).width);
  }
  return {};
}

Status OpVerifier::verify_row_per_token(const PlanBuffer& buffer) const {
  if (!buffer.single_row) return {};
  return bad_input("buffer '{}' has a single row, expected a row a token", buffer.name);
}

Status OpVerifier::verify_embed(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_row_per_token(out(op)));
  if (weight(op).n_rows == plan_.n_vocab && weight(op).n_cols == out(op).width) return {};
  return bad_input("table '{}' is [{}, {}], expected [{}, {}]", weight(op).key, weight(op).n_rows,
                   weight(op).n_cols, plan_.n_vocab, out(op).width);
}

Status OpVerifier::verify_rms_norm(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_same_shape(op));
  if (weight(op).n_cols == x(op).width) return {};
  return bad_input("weight '{}' has {} columns, expected {}", weight(op).key, weight(op).n_cols,
                   x(op).width);
}

Status OpVerifier::verify_linear(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_same_rows(op));
  std::int64_t n_rows = 0;  // at most 2^14 * 2^31
  for (std::uint32_t index : op.weights) {
    const PlanWeight& w = plan_.weights[index];
    if (w.n_cols != x(op).width) {
      return bad_input("weight '{}' has {} columns, its input '{}' has {}", w.key, w.n_cols,
                       x(op).name, x(op).width);
    }
    n_rows += w.n_rows;
  }
  if (op.column < 0 || n_rows > out(op).width || op.column > out(op).width - n_rows) {
    return bad_input("writes {} columns from {} of '{}', which has {}", n_rows, op.column,
                     out(op).name, out(op).width);
  }
  return {};
}

Status OpVerifier::verify_heads(const PlanBuffer& buffer, std::int64_t column,
                                std::int64_t n_heads) const {
  CRIA_RETURN_IF_ERROR(verify_row_per_token(buffer));
  if (plan_.kv.head_dim == 0) return bad_input("works on heads, the plan's head_dim is 0");
  if (!in_range(n_heads, 1, kMaxHeads)) {
    return bad_input("works on {} heads, expected 1 to {}", n_heads, kMaxHeads);
  }
  const std::int64_t width = n_heads * plan_.kv.head_dim;
  if (column < 0 || width > buffer.width || column > buffer.width - width) {
    return bad_input("takes {} columns from {} of '{}', which has {}", width, column, buffer.name,
                     buffer.width);
  }
  return {};
}

Status OpVerifier::verify_rope(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_heads(out(op), op.column, op.n_heads));
  if (weight(op).n_cols == plan_.kv.head_dim / 2) return {};
  return bad_input("weight '{}' has {} frequencies, expected {}", weight(op).key, weight(op).n_cols,
                   plan_.kv.head_dim / 2);
}

Status OpVerifier::verify_layer(const PlanOp& op) const {
  if (op.layer >= 0 && op.layer < plan_.kv.n_layers) return {};
  return bad_input("layer {}, the cache has {}", op.layer, plan_.kv.n_layers);
}

Status OpVerifier::verify_kv_append(const PlanOp& op) {
  CRIA_RETURN_IF_ERROR(verify_layer(op));
  CRIA_RETURN_IF_ERROR(verify_heads(x(op), op.column, plan_.kv.n_kv_heads));
  CRIA_RETURN_IF_ERROR(verify_heads(x(op), op.column_v, plan_.kv.n_kv_heads));
  appended_[op.layer] = true;
  return {};
}

// The layer and the query heads of an op of attention.
Status OpVerifier::verify_queries(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_layer(op));
  if (!appended_[op.layer]) {
    return bad_input("attends to layer {} before its keys and values are appended", op.layer);
  }
  const bool whole = op.kind == PlanOpKind::kAttention;
  const std::int32_t n_kv_heads = whole ? plan_.kv.n_kv_heads : op.n_kv_heads;
  if (!in_range(n_kv_heads, 1, plan_.kv.n_kv_heads) ||
      !in_range(op.kv_head, 0, whole ? 0 : plan_.kv.n_kv_heads - n_kv_heads)) {
    return bad_input("heads [{}, +{}), the cache has {}", op.kv_head, n_kv_heads,
                     plan_.kv.n_kv_heads);
  }
  if (!in_range(op.n_heads, 1, kMaxHeads) || op.n_heads % n_kv_heads != 0) {
    return bad_input("{} query heads, expected a multiple of the {} heads of the cache", op.n_heads,
                     n_kv_heads);
  }
  return {};
}

Status OpVerifier::verify_score_row(const PlanOp& op, const PlanBuffer& buffer) const {
  CRIA_RETURN_IF_ERROR(verify_row_per_token(buffer));
  constexpr std::int64_t kMostRecords = std::int64_t{1} << 20;
  if (in_range(op.block, 1, kMostRecords) && buffer.width == op.n_heads * op.block * kScoreRecord) {
    return {};
  }
  return bad_input("'{}' of width {} has score rows of {} heads with {} records of {}", buffer.name,
                   buffer.width, op.n_heads, op.block, kScoreRecord);
}

Status OpVerifier::verify_split_attention(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_queries(op));
  if (op.block != plan_.score_records()) {
    return bad_input("has {} records a head, earlier ops {}", op.block, plan_.score_records());
  }
  if (op.kind == PlanOpKind::kSoftmax) return verify_score_row(op, out(op));
  if (op.kind == PlanOpKind::kScores) {
    CRIA_RETURN_IF_ERROR(verify_heads(x(op), op.column, op.n_heads));
    return verify_score_row(op, out(op));
  }
  CRIA_RETURN_IF_ERROR(verify_score_row(op, x(op)));
  CRIA_RETURN_IF_ERROR(verify_row_per_token(out(op)));
  const std::int64_t group = op.n_heads / op.n_kv_heads;
  const std::int64_t width = plan_.kv.n_kv_heads * group * plan_.kv.head_dim;
  if (out(op).width == width) return {};
  return bad_input("result '{}' has width {}, expected {}", out(op).name, out(op).width, width);
}

Status OpVerifier::verify_attention(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_queries(op));
  CRIA_RETURN_IF_ERROR(verify_heads(x(op), op.column, op.n_heads));
  CRIA_RETURN_IF_ERROR(verify_same_rows(op));
  const std::int64_t width = std::int64_t{op.n_heads} * plan_.kv.head_dim;
  if (out(op).width == width) return {};
  return bad_input("result '{}' has width {}, expected {}", out(op).name, out(op).width, width);
}

Status OpVerifier::verify_swiglu(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_same_rows(op));
  if (x(op).width == 2 * out(op).width) return {};
  return bad_input("input '{}' has width {}, expected twice {}", x(op).name, x(op).width,
                   out(op).width);
}

Status OpVerifier::verify_last_row(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_row_per_token(x(op)));
  if (out(op).single_row && out(op).width == x(op).width) return {};
  return bad_input("result '{}' is {} of width {}, expected a single row of width {}", out(op).name,
                   out(op).single_row ? "a single row" : "a row a token", out(op).width,
                   x(op).width);
}

Status OpVerifier::verify_output(const PlanOp& op) {
  ++n_outputs_;
  if (x(op).width == plan_.n_vocab) return {};
  return bad_input("result '{}' has width {}, expected n_vocab = {}", x(op).name, x(op).width,
                   plan_.n_vocab);
}

Status OpVerifier::verify_hadamard(const PlanOp& op) const {
  CRIA_RETURN_IF_ERROR(verify_same_shape(op));
  if (op.block < 1 || !std::has_single_bit(static_cast<std::uint64_t>(op.block)) ||
      x(op).width % op.block != 0) {
    return bad_input("has blocks of {}, expected a power of two that divides the width {}",
                     op.block, x(op).width);
  }
  if (weight(op).n_cols == x(op).width) return {};
  return bad_input("weight '{}' has {} signs, expected {}", weight(op).key, weight(op).n_cols,
                   x(op).width);
}

// Buffers share memory once their values are no longer needed. That an op reads what an earlier op
// wrote, and not what some other buffer has left there, is what a wrong memory plan would break.
Status OpVerifier::follow_data(const PlanOp& op) {
  // Linears may write a buffer column by column: the first one finds nothing there.
  const bool updates = op.kind == PlanOpKind::kLinear ? op.accumulate : plan_op_updates(plan_, op);
  for (const std::uint32_t read : {op.x, op.y, updates ? op.out : kNoBuffer}) {
    if (read == kNoBuffer) continue;
    if (!holds_value_[read]) {
      return bad_input("reads buffer '{}', which no earlier op wrote or another one overwrote",
                       plan_.buffers[read].name);
    }
  }
  if (op.out == kNoBuffer) return {};
  for (const std::uint32_t read : {op.x, op.y}) {
    if (read != kNoBuffer && plan_buffers_overlap(plan_, read, op.out)) {
      return bad_input("writes buffer '{}' over its input '{}'", out(op).name,
                       plan_.buffers[read].name);
    }
  }
  for (std::uint32_t i = 0; i < plan_.buffers.size(); ++i) {
    if (holds_value_[i] && plan_buffers_overlap(plan_, i, op.out)) holds_value_[i] = false;
  }
  holds_value_[op.out] = true;
  return {};
}

}  // namespace

bool plan_buffers_overlap(const Plan& plan, std::uint32_t a, std::uint32_t b) {
  const PlanBuffer &first = plan.buffers[a], &second = plan.buffers[b];
  return first.offset_bytes < second.offset_bytes + buffer_bytes(plan, second) &&
         second.offset_bytes < first.offset_bytes + buffer_bytes(plan, first);
}

Status verify_plan(const Plan& plan) {
  CRIA_RETURN_IF_ERROR(verify_limits(plan));
  CRIA_RETURN_IF_ERROR(verify_weights(plan));
  CRIA_RETURN_IF_ERROR(verify_buffers(plan));
  CRIA_RETURN_IF_ERROR(verify_imports(plan));
  OpVerifier verifier(plan);
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    const PlanOp& op = plan.ops[i];
    if (static_cast<int>(op.kind) >= kPlanOpKindCount) {
      return bad_input("op {} has kind {}, known are 0 to {}", i, static_cast<int>(op.kind),
                       kPlanOpKindCount - 1);
    }
    CRIA_RETURN_IF_ERROR(
        verifier.verify(op).with_context(fmt::format("op {} ({})", i, plan_op_name(op.kind))));
  }
  if (plan.is_part && !plan.ops.empty() && verifier.n_outputs() == 0) return {};
  if (verifier.n_outputs() != 1 || plan.ops.back().kind != PlanOpKind::kOutput) {
    return bad_input("the plan has {} output ops, expected exactly one, as its last op",
                     verifier.n_outputs());
  }
  return {};
}

}  // namespace cria

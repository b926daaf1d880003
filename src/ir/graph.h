// The intermediate representation: a method of the model as a straight list of ops over values.
//
// A value is made once (SSA): by the graph's inputs or by one op. Constants are weights, referenced
// by their canonical name; their numbers live in the checkpoint, never here. The KV cache is the
// only state: kv_append writes it, attention reads it, and the order of the list orders the two.
//
// Text form (ir/text.h):   %h: f32[S, 64] = linear(%x, %residual; blk.0.attn_output.weight)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria::ir {

using ValueId = std::uint32_t;
using WeightId = std::uint32_t;

enum class DType : std::uint8_t { kF32, kI64 };
const char* dtype_name(DType dtype);  // "f32", "i64"

inline constexpr std::int64_t kTokens = -1;  // the symbolic dimension S: tokens of a call

// Dimensions are positive or kTokens. Activations are f32 [rows, width], rows = kTokens or 1.
struct Type {
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  bool operator==(const Type&) const = default;
};

struct Value {
  std::string name;  // unique in the graph; letters, digits, '_' and '.'
  Type type;
  bool operator==(const Value&) const = default;
};

struct Weight {
  std::string name;         // canonical: "blk.0.attn_q.weight"
  std::int64_t n_rows = 0;  // output features; 1 for a vector
  std::int64_t n_cols = 0;  // input features
  bool operator==(const Weight&) const = default;
};

// `x` is f32 [R, w] everywhere; inputs before the semicolon, weights after it.
enum class OpKind : std::uint8_t {
  // Primitive ops, which the model is built from.
  kEmbed,         // (tokens; table [v, w]) -> [R, w]: rows of the table
  kRmsNormalize,  // (x) -> x * rsqrt(mean(x^2) + epsilon)
  kMul,           // (x, y) or (x; gain [1, w])
  kAdd,           // (x, y)
  kLinear,        // (x; a [m, w], b ...) -> [x a^T, x b^T, ...]; (x, residual; ...) adds residual
  kRope,          // (x, position; inverse_frequencies [1, head_dim/2]): rotates every head
  kKvAppend,      // (k, v, position): the rows of k and v enter the cache of `layer` at position
  kAttention,     // (q, position) -> causal attention over the cache of `layer`
  kSilu,          // (x) -> x / (1 + exp(-x))
  kSlice,         // (x) -> x[:, column .. column + width)
  kLastRow,       // (x) -> [1, w]
  kOutput,        // (x): the method's result
  kHadamard,      // (x; signs [1, w]) -> x diag(signs) H / sqrt(block), H the Walsh-Hadamard matrix
                  // of each `block` columns; `inverse` 1: x H / sqrt(block) diag(signs)
  // Fused ops, which passes make.
  kRmsNorm,  // (x; gain [1, w]) -> rms_normalize(x) * gain
  kSwiGlu,   // (x [R, 2w]) -> silu(x[:, :w]) * x[:, w:]
};
inline constexpr int kOpKindCount = 15;

// Which member of Attributes an op kind has.
enum AttributeBit : std::uint32_t {
  kHasEpsilon = 1,
  kHasScale = 2,
  kHasLayer = 4,
  kHasHeads = 8,
  kHasKvHeads = 16,
  kHasHeadDim = 32,
  kHasColumn = 64,
  kHasWidth = 128,
  kHasBlock = 256,
  kHasInverse = 512,
};

// Members that the kind does not have stay zero.
struct Attributes {
  float epsilon = 0;
  float scale = 0;  // attention: factor of q.k
  std::int64_t layer = 0;
  std::int64_t n_heads = 0;
  std::int64_t n_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t column = 0;
  std::int64_t width = 0;
  std::int64_t block = 0;    // hadamard: a power of two that divides the width
  std::int64_t inverse = 0;  // hadamard: 0 or 1
  bool operator==(const Attributes&) const = default;
};

struct OpSpec {
  OpKind kind;
  const char* name;  // "rms_norm"
  int min_inputs, max_inputs;
  int min_weights, max_weights;  // max_weights < 0: any number
  bool has_output;
  std::uint32_t attributes;  // AttributeBit
};
const OpSpec& op_spec(OpKind kind);
std::optional<OpKind> op_kind_from_name(std::string_view name);

struct Op {
  OpKind kind = OpKind::kAdd;
  std::vector<ValueId> inputs;
  std::vector<WeightId> weights;
  std::optional<ValueId> output;
  Attributes attributes;
  bool operator==(const Op&) const = default;
};

// Plain data: passes edit it, verify() (ir/verify.h) says whether the result is well-formed.
struct Graph {
  std::string name;  // the method: "prefill"
  std::vector<Weight> weights;
  std::vector<Value> values;
  std::vector<ValueId> inputs;
  std::vector<Op> ops;
  bool operator==(const Graph&) const = default;

  const Type& type(ValueId id) const { return values[id].type; }
  std::int64_t width(ValueId id) const { return values[id].type.shape.back(); }
};

}  // namespace cria::ir

// The compiled plan of one method for the `cpu` delegate: what targets/cpu writes, delegates/cpu
// runs.
//
// A plan is a straight list of ops over activation buffers and weights. Buffers are float32
// [n_tokens, width] at fixed offsets of a scratch area that the runtime owns; weights are named
// data of the `.pte`. Encoded as a small little-endian binary (docs/pte.md); decoding trusts
// nothing: after decode_plan() succeeded every index is in range, every shape agrees and every
// buffer lies inside the scratch area.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/encoding.h"
#include "tensor/kv_layout.h"

namespace cria {

inline constexpr std::uint32_t kPlanMagic = 0x4e4c5043;  // "CPLN"
inline constexpr std::uint32_t kPlanVersion = 3;

// A weight of the plan: where it is and what it looks like.
struct PlanWeight {
  std::string key;  // key of the named data
  Encoding encoding = Encoding::kF32;
  bool packed = true;  // panels (tensor/encoding.h); else a plain float32 vector [n_cols]
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  bool operator==(const PlanWeight&) const = default;
};

// An activation buffer, float32 [n_tokens or 1, width].
struct PlanBuffer {
  std::string name;                // for people: "blk.3.qkv"
  std::int64_t width = 0;          // floats a token
  bool single_row = false;         // one row whatever the number of tokens
  std::uint64_t offset_bytes = 0;  // in the scratch area, a multiple of 64
  bool operator==(const PlanBuffer&) const = default;
};

enum class PlanOpKind : std::uint8_t {
  kEmbed = 0,     // out = rows of weights[0] chosen by the tokens
  kRmsNorm = 1,   // out = x * rsqrt(mean(x^2) + epsilon) * weights[0]
  kLinear = 2,    // out[:, o..] (+)= x * weights[i]^T, the weights' rows side by side in out; + if
                  // accumulate
  kRope = 3,      // rotates heads [column, column + n_heads * head_dim) of buffer `out` in place,
                  // half-split
                  //  pairs (i, i + head_dim/2), angle = position * weights[0][i]
  kKvAppend = 4,  // K = x[:, column ..], V = x[:, column_v ..] of all positions go into the cache
                  // of `layer`
  kAttention =
      5,  // out = causal attention of the query heads x[:, column ..] over the cache of `layer`
  kSwiGlu = 6,     // out = silu(x[:, :w]) * x[:, w:], w = width of out
  kAdd = 7,        // out = x + y
  kMul = 8,        // out = x * y
  kSilu = 9,       // out = silu(x)
  kLastRow = 10,   // out (single row) = last row of x
  kOutput = 11,    // the method's result: the rows of x go to the output tensor
  kHadamard = 12,  // out = x diag(weights[0]) H / sqrt(block), H the Walsh-Hadamard matrix of each
                   // `block` columns; if inverse, x H / sqrt(block) diag(weights[0])
};
inline constexpr int kPlanOpKindCount = 13;

inline constexpr std::uint32_t kNoBuffer = 0xffffffff;

// One step. Operands that a kind does not have are kNoBuffer (kEmbed and kRope have only `out`,
// kKvAppend and kOutput only `x`). An op never writes over its own inputs: only kRope and a linear
// that accumulates change `out` in place. Every buffer that is read was written by an earlier op
// and not overwritten since by one that shares its memory. kRope, kKvAppend and kAttention work on
// a row a token; a layer's kKvAppend comes before its kAttention; the last op is the only kOutput.
struct PlanOp {
  PlanOpKind kind = PlanOpKind::kAdd;
  std::uint32_t x = kNoBuffer;  // input buffers (indices), where the kind has them
  std::uint32_t y = kNoBuffer;
  std::uint32_t out = kNoBuffer;
  std::vector<std::uint32_t> weights;  // indices into Plan::weights
  bool accumulate = false;             // kLinear
  float epsilon = 0;                   // kRmsNorm
  float scale = 0;                     // kAttention: factor of q.k
  std::int32_t layer = 0;              // kKvAppend, kAttention
  std::int64_t column = 0;             // first column of the heads in a wider buffer
  std::int64_t column_v = 0;           // kKvAppend
  std::int32_t n_heads = 0;            // kRope: heads to rotate; kAttention: query heads
  std::int64_t block = 0;              // kHadamard: a power of two that divides the width
  bool inverse = false;                // kHadamard
  bool operator==(const PlanOp&) const = default;
};

// Shape of the KV cache that a method reads and writes. Layout of a cache for n_ctx positions: for
// each layer, K then V, each [n_kv_heads] of n_ctx positions as tensor/kv_layout.h says.
struct KvShape {
  std::int32_t n_layers = 0;
  std::int32_t n_kv_heads = 0;
  std::int32_t head_dim = 0;
  KvType k_type = KvType::kF16;
  KvType v_type = KvType::kF16;
  bool operator==(const KvShape&) const = default;
  std::uint64_t bytes_per_position() const {
    return std::uint64_t{1} * n_layers * n_kv_heads *
           (kv_row_bytes(k_type, head_dim) + kv_row_bytes(v_type, head_dim));
  }
  // n_ctx is a multiple of this.
  std::int64_t granularity() const {
    return std::max(kv_granularity(k_type), kv_granularity(v_type));
  }
};

struct Plan {
  std::int64_t max_tokens = 0;  // tokens a call may bring
  std::int64_t n_vocab = 0;
  KvShape kv;
  std::uint64_t scratch_bytes = 0;
  std::vector<PlanWeight> weights;
  std::vector<PlanBuffer> buffers;
  std::vector<PlanOp> ops;
  bool operator==(const Plan&) const = default;
};

std::vector<std::byte> encode_plan(const Plan& plan);
// `what` names the source in errors. Fails with kBadInput (malformed) or kUnsupported (newer
// version).
Result<Plan> decode_plan(std::span<const std::byte> bytes, std::string_view what);
// Checks all that decode_plan promises; the compiler runs it on what it made.
Status verify_plan(const Plan& plan);
const char* plan_op_name(PlanOpKind kind);

}  // namespace cria

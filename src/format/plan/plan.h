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
inline constexpr std::uint32_t kPlanVersion = 6;

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
  // Attention in three ops, so that two devices can share it. Score rows: see below.
  kScores = 13,   // out (score rows) = scale * q . k of the query heads x[:, column ..]
  kSoftmax = 14,  // turns score rows `out` into weights, in place
  kMix = 15,      // out = weights (score rows x) times the values in the cache of `layer`: the
                  // columns of its query heads, among all heads'
};
inline constexpr int kPlanOpKindCount = 16;

// A score row has for each query head of a token `block` records of 144 floats, one for every 128
// positions of the context, from position 0 on: 128 scores, then weights; behind them, of weights,
// the factors by which what was summed up before this record shrinks and what this one adds grows,
// and the sum of all weights up to here; of scores, a factor that is left to be applied
// (kernels/attention/generic.h and split.h). What lies behind the positions that a token sees is
// not defined.
inline constexpr std::int64_t kScorePositions = 128;
inline constexpr std::int64_t kScoreRecord = 144;

inline constexpr std::uint32_t kNoBuffer = 0xffffffff;

// One step. Operands that a kind does not have are kNoBuffer (kEmbed and kRope have only `out`,
// kKvAppend and kOutput only `x`). An op never writes over its own inputs: only kRope, kSoftmax and
// a linear that accumulates change `out` in place. Every buffer that is read was written by an
// earlier op (or is imported) and not overwritten since by one that shares its memory. kRope,
// kKvAppend and those of attention work on a row a token; a kMix of later heads adds to what that
// of the first ones began. In a plan of a whole method a layer's
// kKvAppend comes before its attention, and the last op is the only kOutput; a part of a method may
// have the one elsewhere and lack the other.
struct PlanOp {
  PlanOpKind kind = PlanOpKind::kAdd;
  std::uint32_t x = kNoBuffer;  // input buffers (indices), where the kind has them
  std::uint32_t y = kNoBuffer;
  std::uint32_t out = kNoBuffer;
  std::vector<std::uint32_t> weights;  // indices into Plan::weights
  bool accumulate = false;             // kLinear
  float epsilon = 0;                   // kRmsNorm
  float scale = 0;                     // kAttention: factor of q.k
  std::int32_t layer = 0;              // kKvAppend, kAttention, kScores, kSoftmax, kMix
  std::int64_t column = 0;             // first column of the heads in a wider buffer
  std::int64_t column_v = 0;           // kKvAppend
  std::int32_t n_heads = 0;            // kRope: heads to rotate; of attention: query heads
  std::int32_t kv_head = 0;  // kScores, kSoftmax, kMix: the first head of the cache, and how many
  std::int32_t n_kv_heads = 0;  // of them; the query heads are theirs
  std::int64_t block = 0;       // kHadamard: a power of two that divides the width;
                                // kScores, kSoftmax, kMix: records of a head
  bool inverse = false;         // kHadamard
  bool operator==(const PlanOp&) const = default;
};

// One of the three ops that attention is split into.
inline bool plan_op_has_score_rows(const PlanOp& op) {
  return op.kind == PlanOpKind::kScores || op.kind == PlanOpKind::kSoftmax ||
         op.kind == PlanOpKind::kMix;
}
// Whether an op reads the cache.
inline bool plan_op_attends(const PlanOp& op) {
  return op.kind == PlanOpKind::kAttention || op.kind == PlanOpKind::kScores ||
         op.kind == PlanOpKind::kMix;
}
// Whether it reads or writes it.
inline bool plan_op_uses_cache(const PlanOp& op) {
  return op.kind == PlanOpKind::kKvAppend || plan_op_attends(op);
}

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

// Heads of the cache that an op of attention reads, and the query heads that share each.
struct PlanHeads {
  std::int64_t first = 0, n = 0, group = 0;
  std::int64_t first_query() const { return first * group; }
};

struct Plan {
  std::int64_t max_tokens = 0;  // tokens a call may bring
  std::int64_t n_vocab = 0;
  KvShape kv;
  std::uint64_t scratch_bytes = 0;
  std::vector<PlanWeight> weights;
  std::vector<PlanBuffer> buffers;
  std::vector<PlanOp> ops;
  bool is_part = false;                // others run before or behind it, on the same scratch
  std::vector<std::uint32_t> imports;  // of a part: buffers that others have written before
  bool operator==(const Plan&) const = default;

  // REQUIRES: an op of attention, verified.
  PlanHeads heads_of(const PlanOp& op) const {
    if (op.kind == PlanOpKind::kAttention) return {0, kv.n_kv_heads, op.n_heads / kv.n_kv_heads};
    return {op.kv_head, op.n_kv_heads, op.n_heads / op.n_kv_heads};
  }
  // Records of a head in its score rows; 0: it has none.
  std::int64_t score_records() const {
    for (const PlanOp& op : ops) {
      if (plan_op_has_score_rows(op)) return op.block;
    }
    return 0;
  }
  // Positions that its score rows have room for; 0: it has none. REQUIRES: verified.
  std::int64_t score_positions() const { return score_records() * kScorePositions; }
};

// Whether an op needs what was in `out` before: it changes it, or writes some columns only.
bool plan_op_updates(const Plan& plan, const PlanOp& op);
// Buffers of which an op needs what was there: its inputs, and `out` if it updates that.
std::vector<std::uint32_t> plan_op_reads(const Plan& plan, const PlanOp& op);
// Whether two buffers share memory: then one's values are no longer needed when the other's come.
bool plan_buffers_overlap(const Plan& plan, std::uint32_t a, std::uint32_t b);

std::vector<std::byte> encode_plan(const Plan& plan);
// `what` names the source in errors. Fails with kBadInput (malformed) or kUnsupported (newer
// version).
Result<Plan> decode_plan(std::span<const std::byte> bytes, std::string_view what);
// Checks all that decode_plan promises; the compiler runs it on what it made.
Status verify_plan(const Plan& plan);
const char* plan_op_name(PlanOpKind kind);

}  // namespace cria

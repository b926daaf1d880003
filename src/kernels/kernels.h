// The CPU maths of cria: one function per op, chosen once per load for the instruction set at hand.
//
//   const Kernels& kernels = kernels_for(best_isa());
//   kernels.linear_a8({.encoding = ..., .panels = ..., ...});
//
// No kernel allocates, starts threads, does I/O or keeps state. Callers split work: every op gives
// the same bits for the same output element however rows, panels, tokens and heads are split over
// calls, and on every instruction set (exact definitions: <op>/generic.h). This is what makes
// chunked prefill equal whole prefill and one thread equal many.
//
// Strides count elements. Pointers need no alignment except `panels` (64 bytes, as packed weights
// have it). Inputs and outputs of one call must not overlap unless an op says that it may run in
// place. Sizes may be zero tokens (nothing happens), never negative. Not-a-number goes in and
// comes out as not-a-number; nothing else is checked: the shapes are the caller's promise.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu_features.h"
#include "tensor/encoding.h"
#include "tensor/kv_layout.h"

namespace cria {

// --- activations as int8 (a8) --------------------------------------------------------------------

// Significant bits of a scale, the first and those behind it.
inline constexpr int kA8ScaleBits = 4;

// What 32 consecutive int8 activations of one token share: x[k] ~ scale * code[k].
struct A8Block {
  float scale;           // of kA8ScaleBits; not-a-number if an input was not finite
  std::int16_t sums[2];  // sums of the codes 0..15 and 16..31
};

// Blocks of 32 in a row of `n_cols`; a row has 32 times as many codes, zeros after the end.
constexpr std::int64_t a8_blocks(std::int64_t n_cols) {
  return (n_cols + kColumnGroup - 1) / kColumnGroup;
}

// Tokens lie in tiles of up to 32: tile, block of columns, token, the 32 codes. A kernel that walks
// along the columns for many tokens then reads memory in order; with whole rows, tokens would be a
// power of two apart, and push each other out of the first-level cache.
inline constexpr std::int64_t kA8TileTokens = 32;

// Where block `b` of token `t` is among the blocks (and, times 32, its codes among the codes) of
// `n_tokens` rows with `n_blocks` blocks each. The last tile may be narrower: one token's blocks
// lie one after the other.
constexpr std::int64_t a8_index(std::int64_t t, std::int64_t b, std::int64_t n_tokens,
                                std::int64_t n_blocks) {
  const std::int64_t first = t / kA8TileTokens * kA8TileTokens;
  const std::int64_t left = n_tokens - first;
  return first * n_blocks + b * (left < kA8TileTokens ? left : kA8TileTokens) + t - first;
}

// Float rows -> int8 codes in -127..127, rounded to nearest even. Work is shared by tokens: a call
// writes `n_tokens` of all `n_rows`, from `first_token` on.
struct QuantizeA8Args {
  const float* x;  // [n_rows, n_cols], rows x_stride apart
  std::int64_t x_stride;
  std::int64_t n_rows;
  std::int64_t first_token;
  std::int64_t n_tokens;
  std::int64_t n_cols;  // any
  std::int8_t* codes;   // out: [n_rows * a8_blocks(n_cols)][32], as a8_index says
  A8Block* blocks;      // out: [n_rows * a8_blocks(n_cols)], as a8_index says
};

// --- linear --------------------------------------------------------------------------------------

// out[t][r] = sum over k of w[r][k] * x[t][k], for a range of whole panels. A caller shares work by
// giving each task a few panels (panels + i * panel_layout(...).size_bytes, out + 16 * i) and all
// tokens of a chunk: the weights are then read from memory once.
struct LinearA8Args {
  Encoding encoding;        // a block encoding
  const std::byte* panels;  // the first panel of the range
  std::int64_t n_rows;      // rows in the range: ceil(n_rows / 16) panels are read
  std::int64_t n_cols;
  const std::int8_t* codes;  // of QuantizeA8Args, for all its rows or for whole tiles of them
  const A8Block* blocks;
  std::int64_t n_tokens;
  float* out;  // [n_tokens, n_rows], rows out_stride apart
  std::int64_t out_stride;
  bool accumulate;  // out += instead of out =
};

// The same with float activations and the weights exactly as decode_packed_row gives them.
struct LinearA16Args {
  Encoding encoding;  // any
  const std::byte* panels;
  std::int64_t n_rows;
  std::int64_t n_cols;  // any
  const float* x;       // [n_tokens, n_cols], rows x_stride apart
  std::int64_t x_stride;
  std::int64_t n_tokens;
  float* out;
  std::int64_t out_stride;
  bool accumulate;
};

// --- norms, elementwise --------------------------------------------------------------------------

// out[t] = x[t] / sqrt(mean(x[t]^2) + epsilon) * weight. May run in place.
struct RmsNormArgs {
  const float* x;  // [n_tokens, n_cols]
  std::int64_t x_stride;
  std::int64_t n_tokens;
  std::int64_t n_cols;
  const float* weight;  // [n_cols]
  float epsilon;
  float* out;
  std::int64_t out_stride;
};

// out[i] = f(x[i], y[i]); may run in place (out == x or out == y).
struct BinaryArgs {
  const float* x;
  const float* y;
  float* out;
  std::int64_t n;
};

// out[i] = f(x[i]); may run in place.
struct UnaryArgs {
  const float* x;
  float* out;
  std::int64_t n;
};

// out[t][i] = silu(gate[t][i]) * up[t][i], silu(x) = x / (1 + e^-x). May run in place on gate or
// up.
struct SwiGluArgs {
  const float* gate;  // [n_tokens, width]
  const float* up;    // [n_tokens, width]
  std::int64_t in_stride;
  std::int64_t n_tokens;
  std::int64_t width;
  float* out;
  std::int64_t out_stride;
};

// x -> half floats, rounded to nearest even as f32_to_f16: how rows enter the KV cache.
struct StoreF16Args {
  const float* x;
  std::uint16_t* out;
  std::int64_t n;
};

// One head's K or V at one position -> its panel of a cache of KvType::kQ8.
struct StoreQ8Args {
  const float* x;         // [head_dim]
  std::int64_t head_dim;  // a multiple of 32
  std::int64_t position;
  std::byte* panel;  // the one of `position`
  bool is_value;     // V, else K
};

// --- hadamard ------------------------------------------------------------------------------------

// Turns each block of `block` columns by a random rotation: x diag(signs) H / sqrt(block), with H
// the Walsh-Hadamard matrix; `inverse` turns it back. May run in place.
struct HadamardArgs {
  const float* x;  // [n_tokens, n_cols]
  std::int64_t x_stride;
  std::int64_t n_tokens;
  std::int64_t n_cols;
  std::int64_t block;  // a power of two that divides n_cols
  const float* signs;  // [n_cols], 1 or -1
  bool inverse;
  float* out;
  std::int64_t out_stride;
};

// --- rope ----------------------------------------------------------------------------------------

// cos and sin [head_dim / 2] of position * inv_freq[i], the angle and its functions taken in
// double. Costs a few microseconds a position: compute it once per position and call, not per
// layer.
void rope_angles(std::int64_t position, const float* inv_freq, std::int64_t half_dim, float* cos,
                 float* sin);

// Rotates the pairs (x[i], x[i + head_dim / 2]) of each head in place.
struct RopeArgs {
  float* x;  // [n_tokens, n_heads * head_dim], tokens x_stride apart
  std::int64_t x_stride;
  std::int64_t n_tokens;
  std::int64_t n_heads;
  std::int64_t head_dim;  // even
  const float* cos;       // [n_tokens, head_dim / 2]
  const float* sin;
};

// --- attention -----------------------------------------------------------------------------------

inline constexpr std::int64_t kMaxHeadDim = 256;

// Causal attention of the query heads that share one KV head. Token t stands at position
// first_position + t and sees positions 0 .. first_position + t, which must be in the cache.
//   out[t][h] = softmax(scale * q[t][h] . K^T) V
// Work is shared by KV heads, and by tokens (move q, out and first_position).
struct AttentionArgs {
  const float* q;  // [n_tokens, n_heads, head_dim]: tokens q_stride apart, heads head_dim apart
  std::int64_t q_stride;
  std::int64_t n_tokens;
  std::int64_t n_heads;   // query heads of this KV head
  std::int64_t head_dim;  // 1 .. kMaxHeadDim; kv_type_fits() both types
  KvType k_type;
  KvType v_type;
  const std::byte* k;  // of this KV head, from position 0 on (tensor/kv_layout.h)
  const std::byte* v;
  std::int64_t first_position;
  float scale;  // at least 0
  float* out;   // as q, tokens out_stride apart
  std::int64_t out_stride;
};

// --- dispatch ------------------------------------------------------------------------------------

// One function per line of kernels.inc.
struct Kernels {
#define CRIA_GENERIC_KERNEL(op, Args) void (*op)(const Args&);
#include "kernels/kernels.inc"
};

// The table of an instruction set: its own kernels where it has them, generic ones elsewhere.
// An `isa` that this build knows nothing of gives the generic table. REQUIRES: cpu_supports(isa).
const Kernels& kernels_for(Isa isa);

}  // namespace cria

// The specification of attention: one pass over the cache in tiles of 128 positions, with a running
// maximum, so that no scratch grows with the context.
//
// For one token and head, for each tile [p0, p0 + n) of the positions it sees (p0 a multiple of
// 128, counted from position 0, so that a result does not depend on the tokens of the call):
//
//   dot[i]   kF16: lane[d % 8] = fma(q[d], k[i][d], lane[d % 8]) in order, then sum_of_lanes
//            kQ8:  linear_a8 of the head's query with the keys; the query as int8 has one scale,
//                  which is not in dot but in factor
//   s[i]   = dot[i] * factor, factor = scale * log2(e) (* scale of the query)
//   top    = max s;  top' = max(top so far, top)
//   base   = kF16 values: top';  kQ8 values: top, so that the largest weight of each tile is 1
//   p[i]   = 2^(s[i] - base);  lane[i % 16] += p[i] in order, from 0
//   shrink = 2^(top so far - top');  grow = 2^(base - top'), 1 for kF16
//   sum[j] = fma(lane[j], grow, sum[j] * shrink)
//   acc[d] = acc[d] * shrink, then
//            kF16: acc[d] = fma(p[i], v[i][d], acc[d]) in order
//            kQ8:  with T = the largest scale of blocks b = d / 32 of the tile:
//                  c[i] = round_to_even(p[i] * (scale of v[i]'s block b * (16383 / T))), 14 bits
//                  acc[d] = fma(float(sum_i c[i] code[i][d]), T / 16383 * grow, acc[d]), the sum
//                  exact
//
// and finally out[d] = acc[d] * (1 / sum_of_weights(sum)). 14 bits are two planes of 7, which every
// instruction set can multiply with signed bytes; an error of 2^-15 of T is far below that of the
// values' own 8 bits. 128 * 16383 * 128 < 2^31.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/activation/exp2.h"
#include "kernels/kernels.h"
#include "kernels/linear_a8/generic.h"
#include "kernels/quantize_a8/generic.h"
#include "kernels/softmax/generic.h"
#include "tensor/float16.h"

namespace cria::spec {
namespace {

inline constexpr int kAttentionTile = 128;
inline constexpr int kAttentionSums = 16;
inline constexpr float kWeightMax = 16383.0f;

// Positions of the tile at p0 that a token sees which sees `n_positions`.
inline int n_in_tile(std::int64_t n_positions, std::int64_t p0) {
  return static_cast<int>(std::clamp<std::int64_t>(n_positions - p0, 0, kAttentionTile));
}

// What makes scores of products of queries and keys, but for the scale of an int8 query.
inline float score_factor(const AttentionArgs& args) { return args.scale * kLog2E; }

// A query as int8, with one scale for the whole head, which is returned: scales in `blocks` are 1,
// or not-a-number where the query is not finite. args: one token, head_dim columns.
inline float quantize_query(const QuantizeA8Args& args) {
  const float* x = args.x + args.first_token * args.x_stride;
  std::uint32_t amax_bits = 0;
  for (std::int64_t d = 0; d < args.n_cols; ++d) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[d]) & 0x7fffffffu;
    amax_bits = bits > amax_bits ? bits : amax_bits;
  }
  const float amax = std::bit_cast<float>(amax_bits);
  const bool finite = amax_bits < kFloatInfinityBits, tiny = amax < kA8Smallest;
  const float inverse = tiny ? 0.0f : 127.0f / amax;
  const std::int64_t n_blocks = args.n_cols / kColumnGroup;
  for (std::int64_t b = 0; b < n_blocks; ++b, x += kColumnGroup) {
    const std::int64_t at = a8_index(args.first_token, b, args.n_rows, n_blocks);
    std::int8_t* codes = args.codes + at * kColumnGroup;
    if (finite) {
      quantize_a8_codes(x, inverse, codes, args.blocks[at]);
      args.blocks[at].scale = 1.0f;
    } else {
      std::memset(codes, 0, kColumnGroup);
      args.blocks[at] = {std::numeric_limits<float>::quiet_NaN(), {0, 0}};
    }
  }
  return tiny ? 0.0f : amax / 127.0f;
}

// A query [head_dim], as the type of the keys wants it.
struct AttentionQuery {
  AttentionQuery(const AttentionArgs& args, const float* query)
      : x(query), factor(score_factor(args)) {
    if (args.k_type != KvType::kQ8) return;
    factor *= quantize_query({x, 0, 1, 0, 1, args.head_dim, codes, blocks});
  }

  const float* x;
  float factor;  // what makes scores of its products with keys
  std::int8_t codes[kMaxHeadDim];
  A8Block blocks[kMaxHeadDim / kColumnGroup];
};

// The running state of one token and head.
struct AttentionState {
  float top = -std::numeric_limits<float>::infinity();
  float sum[kAttentionSums] = {};
  float acc[kMaxHeadDim] = {};
};

inline float attention_dot_f16(const float* q, const std::uint16_t* k, std::int64_t head_dim) {
  float lanes[8] = {};
  for (std::int64_t d = 0; d < head_dim; ++d) {
    lanes[d % 8] = std::fma(q[d], f16_to_f32(k[d]), lanes[d % 8]);
  }
  return sum_of_lanes(lanes);
}

// s[i] of the tile.
inline void score_positions(const AttentionArgs& args, const AttentionQuery& q, std::int64_t p0,
                            int n, float* s) {
  if (args.k_type == KvType::kF16) {
    const auto* k = reinterpret_cast<const std::uint16_t*>(args.k) + p0 * args.head_dim;
    for (int i = 0; i < n; ++i) {
      s[i] = attention_dot_f16(q.x, k + i * args.head_dim, args.head_dim);
    }
  } else {
    const std::byte* panels = args.k + p0 / kKvPanel * kv_panel_bytes(args.head_dim);
    linear_a8_of<Encoding::kQ8>(
        {Encoding::kQ8, panels, n, args.head_dim, q.codes, q.blocks, 1, s, n, false});
  }
  for (int i = 0; i < n; ++i) s[i] = s[i] * q.factor;
}

// What becomes of earlier tiles, and of a tile, when it joins them.
struct TileFactors {
  float shrink;
  float grow;
};

// s[i] of the tile -> p[i], in place; with them `top` rises and `sum` grows.
inline TileFactors weigh_scores(KvType v_type, float* p, int n, float& top, float* sum) {
  const float tile_top = max_of(p, n);
  const float new_top = tile_top > top ? tile_top : top;
  const float base = v_type == KvType::kQ8 ? tile_top : new_top;
  const TileFactors factors = {exp2_of_negative(top - new_top), exp2_of_negative(base - new_top)};
  top = new_top;
  float lanes[kAttentionSums] = {};
  for (int i = 0; i < n; ++i) {
    p[i] = exp2_of_negative(p[i] - base);
    lanes[i % kAttentionSums] += p[i];
  }
  for (int j = 0; j < kAttentionSums; ++j) {
    sum[j] = std::fma(lanes[j], factors.grow, sum[j] * factors.shrink);
  }
  return factors;
}

inline void add_values_f16(const AttentionArgs& args, const float* p, std::int64_t p0, int n,
                           float* acc) {
  const auto* v = reinterpret_cast<const std::uint16_t*>(args.v) + p0 * args.head_dim;
  for (int i = 0; i < n; ++i, v += args.head_dim) {
    for (std::int64_t d = 0; d < args.head_dim; ++d) {
      acc[d] = std::fma(p[i], f16_to_f32(v[d]), acc[d]);
    }
  }
}

// How weights, which are at most 1, times scales of at most `top` become integers and back: c =
// round(p * (scale * to_code)), p * scale = c * of_code.
struct WeightScale {
  float to_code;
  float of_code;
};

// What is not finite gives not-a-number, what is tiny zero.
inline WeightScale weight_scale(float top) {
  if (!(top < std::numeric_limits<float>::infinity())) {
    return {0.0f, std::numeric_limits<float>::quiet_NaN()};
  }
  if (top < kA8Smallest) return {0.0f, 0.0f};
  return {kWeightMax / top, top / kWeightMax};
}

// The low bits of the sum are the integer. Of not-a-number nothing comes but not-a-number, since
// sum[j] has it, too: any code will do.
inline int weight_code(float p, float scale) {
  const float code = std::fma(p, scale, kRoundingMagic);
  return static_cast<int>(std::bit_cast<std::uint32_t>(code) & 0x3fffu);
}

inline float max_magnitude(float a, float b) {
  const std::uint32_t a_bits = std::bit_cast<std::uint32_t>(a) & 0x7fffffffu;
  const std::uint32_t b_bits = std::bit_cast<std::uint32_t>(b) & 0x7fffffffu;
  return std::bit_cast<float>(a_bits > b_bits ? a_bits : b_bits);
}

inline void add_values_q8(const AttentionArgs& args, const float* p, std::int64_t p0, int n,
                          float grow, float* acc) {
  const std::int64_t panel_bytes = kv_panel_bytes(args.head_dim);
  const std::byte* panels = args.v + p0 / kKvPanel * panel_bytes;
  for (std::int64_t b = 0; b < args.head_dim / kColumnGroup; ++b) {
    float scales[kAttentionTile];
    float top = 0.0f;
    for (int i = 0; i < n; ++i) {
      const std::byte* halves =
          panels + i / kKvPanel * panel_bytes + kv_panel_scales(args.head_dim);
      scales[i] = half_at(halves, b * kKvPanel + i % kKvPanel);
      top = max_magnitude(top, scales[i]);
    }
    const WeightScale scale = weight_scale(top);
    int c[kAttentionTile];
    for (int i = 0; i < n; ++i) c[i] = weight_code(p[i], scales[i] * scale.to_code);
    for (std::int64_t d = b * kColumnGroup; d < (b + 1) * kColumnGroup; ++d) {
      std::int32_t sum = 0;
      for (int i = 0; i < n; ++i) {
        const int lane = i % kKvPanel;
        const std::byte* panel = panels + i / kKvPanel * panel_bytes;
        const std::byte code = panel[(lane / 4 * args.head_dim + d) * 4 + lane % 4];
        sum += c[i] * static_cast<std::int8_t>(code);
      }
      acc[d] = std::fma(static_cast<float>(sum), scale.of_code * grow, acc[d]);
    }
  }
}

// acc = acc * shrink + the tile's values times p (* grow).
inline void add_values(const AttentionArgs& args, const float* p, std::int64_t p0, int n,
                       const TileFactors& factors, float* acc) {
  for (std::int64_t d = 0; d < args.head_dim; ++d) acc[d] *= factors.shrink;
  args.v_type == KvType::kF16 ? add_values_f16(args, p, p0, n, acc)
                              : add_values_q8(args, p, p0, n, factors.grow, acc);
}

// The sum of all weights.
inline float sum_of_weights(const float* sum) {
  float eight[8];
  for (int j = 0; j < 8; ++j) eight[j] = sum[j] + sum[j + 8];
  return sum_of_lanes(eight);
}

// out = acc * (1 / the sum of all weights).
inline void divide_by_sum(const float* acc, float sum, std::int64_t head_dim, float* out) {
  const float inverse = 1.0f / sum;
  for (std::int64_t d = 0; d < head_dim; ++d) out[d] = acc[d] * inverse;
}

inline void attention(const AttentionArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const std::int64_t n_positions = args.first_position + t + 1;
    for (std::int64_t h = 0; h < args.n_heads; ++h) {
      const AttentionQuery q(args, args.q + t * args.q_stride + h * args.head_dim);
      AttentionState state;
      for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile) {
        const int n = n_in_tile(n_positions, p0);
        float p[kAttentionTile];
        score_positions(args, q, p0, n, p);
        const TileFactors factors = weigh_scores(args.v_type, p, n, state.top, state.sum);
        add_values(args, p, p0, n, factors, state.acc);
      }
      float* out = args.out + t * args.out_stride + h * args.head_dim;
      divide_by_sum(state.acc, sum_of_weights(state.sum), args.head_dim, out);
    }
  }
}

}  // namespace
}  // namespace cria::spec

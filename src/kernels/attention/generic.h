// The specification of attention: one pass over the cache in tiles of 128 positions, with a running
// maximum, so that no scratch grows with the context.
//
// For one token and head, for each tile [p0, p0 + n) of the positions it sees (p0 a multiple of
// 128, counted from position 0, so that a result does not depend on the tokens of the call):
//
//   dot[i]   kF16: lane[d % 8] = fma(q[d], k[i][d], lane[d % 8]) in order, then sum_of_lanes
//            kQ8:  linear_a8 of the head's query, quantized as quantize_a8 does, with the keys
//   s[i]   = dot[i] * scale;  top' = max(top, max s);  shrink = exp(top - top')
//   p[i]   = exp(s[i] - top')
//   sum[j] = sum[j] * shrink, then sum[i % 8] += p[i] in order
//   acc[d] = acc[d] * shrink, then
//            kF16: acc[d] = fma(p[i], v[i][d], acc[d]) in order
//            kQ8:  w[i] = p[i] * scale of v[i]'s block b = d / 32, as integers of 14 bits:
//                  c[i] = round_to_even(w[i] * (16383 / T)),  W = T / 16383, with T = max p *
//                  the largest of those scales, which no w[i] is above
//                  acc[d] = fma(float(sum_i c[i] code[i][d]), W, acc[d]), the sum exact
//
// and finally out[d] = acc[d] * (1 / sum_of_lanes(sum)). 14 bits are two planes of 7, which every
// instruction set can multiply with signed bytes; an error of 2^-15 of T is far below that of the
// values' own 8 bits. T is not the largest w[i]: that one would have to be looked for, while max p
// is exp(max s - top') (exp never falls: checked for all floats up to 0) and scales are the same
// for all rows. 128 * 16383 * 128 < 2^31.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/kernels.h"
#include "kernels/linear_a8/generic.h"
#include "kernels/quantize_a8/generic.h"
#include "kernels/softmax/generic.h"
#include "tensor/float16.h"

namespace cria::spec {
namespace {

inline constexpr int kAttentionTile = 128;
inline constexpr int kAttentionSums = 8;
inline constexpr float kWeightMax = 16383.0f;

// Positions of the tile at p0 that a token sees which sees `n_positions`.
inline int n_in_tile(std::int64_t n_positions, std::int64_t p0) {
  return static_cast<int>(std::clamp<std::int64_t>(n_positions - p0, 0, kAttentionTile));
}

// A query [head_dim], as the type of the keys wants it.
struct AttentionQuery {
  AttentionQuery(const AttentionArgs& args, const float* query) : x(query) {
    if (args.k_type == KvType::kQ8) quantize_a8({x, 0, 1, 0, 1, args.head_dim, codes, blocks});
  }

  const float* x;
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
  for (int i = 0; i < n; ++i) s[i] = s[i] * args.scale;
}

// s[i] of the tile -> p[i], in place; with them `top` rises and `sum` grows. Returns what values
// that were added before shrink by.
inline float weigh_scores(float* p, int n, float& top, float* sum) {
  const float tile_top = max_of(p, n);
  const float new_top = tile_top > top ? tile_top : top;
  const float shrink = exp(top - new_top);
  top = new_top;
  for (int j = 0; j < kAttentionSums; ++j) sum[j] *= shrink;
  for (int i = 0; i < n; ++i) {
    p[i] = exp(p[i] - new_top);
    sum[i % kAttentionSums] += p[i];
  }
  return shrink;
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

// How weights of at most `top` become integers and back: c = round(w * to_code), w = c * of_code.
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

// Not-a-number, of which nothing comes but not-a-number (sum[j] has it, too), becomes 0.
inline int weight_code(float w, const WeightScale& scale) {
  const float code = (w * scale.to_code + kRoundingMagic) - kRoundingMagic;
  return code == code ? static_cast<int>(code) : 0;
}

inline float max_magnitude(float a, float b) {
  const std::uint32_t a_bits = std::bit_cast<std::uint32_t>(a) & 0x7fffffffu;
  const std::uint32_t b_bits = std::bit_cast<std::uint32_t>(b) & 0x7fffffffu;
  return std::bit_cast<float>(a_bits > b_bits ? a_bits : b_bits);
}

inline void add_values_q8(const AttentionArgs& args, const float* p, std::int64_t p0, int n,
                          float* acc) {
  const std::int64_t panel_bytes = kv_panel_bytes(args.head_dim);
  const std::byte* panels = args.v + p0 / kKvPanel * panel_bytes;
  for (std::int64_t b = 0; b < args.head_dim / kColumnGroup; ++b) {
    float w[kAttentionTile];
    float max_scale = 0.0f;
    for (int i = 0; i < n; ++i) {
      const std::byte* scales =
          panels + i / kKvPanel * panel_bytes + kv_panel_scales(args.head_dim);
      const float scale = half_at(scales, b * kKvPanel + i % kKvPanel);
      w[i] = p[i] * scale;
      max_scale = max_magnitude(max_scale, scale);
    }
    const WeightScale scale = weight_scale(max_of(p, n) * max_scale);
    int c[kAttentionTile];
    for (int i = 0; i < n; ++i) c[i] = weight_code(w[i], scale);
    for (std::int64_t d = b * kColumnGroup; d < (b + 1) * kColumnGroup; ++d) {
      std::int32_t sum = 0;
      for (int i = 0; i < n; ++i) {
        const int lane = i % kKvPanel;
        const std::byte* panel = panels + i / kKvPanel * panel_bytes;
        const std::byte code = panel[(lane / 4 * args.head_dim + d) * 4 + lane % 4];
        sum += c[i] * static_cast<std::int8_t>(code);
      }
      acc[d] = std::fma(static_cast<float>(sum), scale.of_code, acc[d]);
    }
  }
}

// acc = acc * shrink + the tile's values times p.
inline void add_values(const AttentionArgs& args, const float* p, std::int64_t p0, int n,
                       float shrink, float* acc) {
  for (std::int64_t d = 0; d < args.head_dim; ++d) acc[d] *= shrink;
  args.v_type == KvType::kF16 ? add_values_f16(args, p, p0, n, acc)
                              : add_values_q8(args, p, p0, n, acc);
}

// out = acc * (1 / the sum of all weights).
inline void divide_by_sum(const float* acc, const float* sum, std::int64_t head_dim, float* out) {
  const float inverse = 1.0f / sum_of_lanes(sum);
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
        const float shrink = weigh_scores(p, n, state.top, state.sum);
        add_values(args, p, p0, n, shrink, state.acc);
      }
      float* out = args.out + t * args.out_stride + h * args.head_dim;
      divide_by_sum(state.acc, state.sum, args.head_dim, out);
    }
  }
}

}  // namespace
}  // namespace cria::spec

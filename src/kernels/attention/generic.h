// The specification of attention: one pass over the cache in tiles of 128 positions, with a running
// maximum, so that no scratch grows with the context.
//
// For one token and head, for each tile [p0, p0 + n) of the positions it sees (p0 a multiple of
// 128, counted from position 0, so that a result does not depend on the tokens of the call):
//
//   dot[i]   kF16: lane[d % 8] = fma(q[d], k[i][d], lane[d % 8]) in order, then sum_of_lanes
//            kQ8:  linear_a8 of the head's query with the keys; the query as int8 has one scale,
//                  which is not in dot but in factor
//   factor = scale * log2(e) (* scale of the query)
//
// With values in kF16:
//
//   s[i]   = dot[i] * factor
//   top    = max s;  top' = max(top so far, top)
//   p[i]   = 2^(s[i] - top');  lane[i % 16] += p[i] in order, from 0
//   shrink = 2^(top so far - top')
//   sum[j] = lane[j] + sum[j] * shrink
//   acc[d] = acc[d] * shrink, then acc[d] = fma(p[i], v[i][d], acc[d]) in order
//
// In kQ8 weights are integers; the largest of each tile is 1, so that bits are where they count:
//
//   top    = max dot * factor, top' and shrink as above, grow = 2^(top - top')
//   x[i]   = round_to_even(fma(dot[i], factor * 4096, 65535 - top * 4096)) within 0 .. 65535
//   w[i]   = exp2_word(x[i]), 2^14 times the weight
//   sum    = fma(2^-14 * sum_i w[i], grow, sum * shrink), the inner sum exact
//   acc[d] = acc[d] * shrink, then with T = the largest scale of blocks b = d / 32 of the tile:
//            t[i] = round_to_even(scale of v[i]'s block b * (32640 / T))
//            c[i] = (w[i] * t[i] + 2^14) >> 15, 14 bits
//            f = 255 * 2^15 / the largest c[i], rounded down, at most 2^15 - 1
//            b[i] = (c[i] * f + 2^14) >> 15, 8 bits
//            acc[d] = fma(float(sum_i b[i] code[i][d]), T / 16320 * grow * (2^15 / f), acc[d]), the
//            sum exact
//
// (dot and factor are kept apart for keys in kQ8 only: in kF16 dot is the score and factor is 1.)
// Integers do not carry not-a-number: where a score of a tile is, grow is; so, too, where the top
// is 2^24 or more, up or down: floats have no bits left then for the steps of x.
//
// And finally out[d] = acc[d] * (1 / sum_of_weights(sum)). Weights of a tile are multiplied as
// bytes, whose steps are a 255th of the largest: docs/decisions/0005 has what that costs.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/activation/exp2.h"
#include "kernels/activation/exp2_words.h"
#include "kernels/kernels.h"
#include "kernels/linear_a8/generic.h"
#include "kernels/quantize_a8/generic.h"
#include "kernels/softmax/generic.h"
#include "tensor/float16.h"

namespace cria::spec {
namespace {

inline constexpr int kAttentionTile = 128;
inline constexpr int kAttentionSums = 16;
inline constexpr float kScoreLimit = 16777216.0f;  // with values as int8
inline constexpr float kWeightMax = 16320.0f;      // of codes: 255 times 64, so that it is a byte
inline constexpr float kByteFactorUnit = 32768.0f;
inline constexpr float kByteFactorOfOne = 255.0f * kByteFactorUnit;
inline constexpr float kByteFactorMax = 32767.0f;
inline constexpr float kValueScaleMax = 32640.0f;  // of scales as integers: times 1, kWeightMax

// Positions of the tile at p0 that a token sees which sees `n_positions`.
inline int n_in_tile(std::int64_t n_positions, std::int64_t p0) {
  return static_cast<int>(std::clamp<std::int64_t>(n_positions - p0, 0, kAttentionTile));
}

// What makes scores of products of queries and keys, but for the scale of an int8 query.
inline float score_factor(const AttentionArgs& args) { return args.scale * kLog2E; }

// Of a query as int8, which has one for the whole head.
struct QueryScale {
  float to_code;
  float of_code;
  bool finite;  // else codes are zeros
};

inline QueryScale query_scale(const float* x, std::int64_t head_dim) {
  std::uint32_t amax_bits = 0;
  for (std::int64_t d = 0; d < head_dim; ++d) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[d]) & 0x7fffffffu;
    amax_bits = bits > amax_bits ? bits : amax_bits;
  }
  const float amax = std::bit_cast<float>(amax_bits);
  const bool tiny = amax < kA8Smallest;
  return {tiny ? 0.0f : 127.0f / amax, tiny ? 0.0f : amax / 127.0f, amax_bits < kFloatInfinityBits};
}

// A query as int8, with one scale for the whole head, which is returned: scales in `blocks` are 1,
// or not-a-number where the query is not finite. args: one token, head_dim columns.
inline float quantize_query(const QuantizeA8Args& args) {
  const float* x = args.x + args.first_token * args.x_stride;
  const QueryScale scale = query_scale(x, args.n_cols);
  const std::int64_t n_blocks = args.n_cols / kColumnGroup;
  for (std::int64_t b = 0; b < n_blocks; ++b, x += kColumnGroup) {
    const std::int64_t at = a8_index(args.first_token, b, args.n_rows, n_blocks);
    std::int8_t* codes = args.codes + at * kColumnGroup;
    if (scale.finite) {
      quantize_a8_codes(x, scale.to_code, codes, args.blocks[at]);
      args.blocks[at].scale = 1.0f;
    } else {
      std::memset(codes, 0, kColumnGroup);
      args.blocks[at] = {std::numeric_limits<float>::quiet_NaN(), {0, 0}};
    }
  }
  return scale.of_code;
}

// A query [head_dim], as the type of the keys wants it.
struct AttentionQuery {
  AttentionQuery(const AttentionArgs& args, const float* query) : x(query), factor(1.0f) {
    if (args.k_type != KvType::kQ8) return;
    factor = score_factor(args) * quantize_query({x, 0, 1, 0, 1, args.head_dim, codes, blocks});
  }

  const float* x;
  float factor;  // what makes scores of what score_positions gives
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

// Of the tile: dot[i] of int8 keys, s[i] of half floats.
inline void score_positions(const AttentionArgs& args, const AttentionQuery& q, std::int64_t p0,
                            int n, float* s) {
  if (args.k_type == KvType::kF16) {
    const auto* k = reinterpret_cast<const std::uint16_t*>(args.k) + p0 * args.head_dim;
    for (int i = 0; i < n; ++i) {
      s[i] = attention_dot_f16(q.x, k + i * args.head_dim, args.head_dim) * score_factor(args);
    }
  } else {
    const std::byte* panels = args.k + p0 / kKvPanel * kv_panel_bytes(args.head_dim);
    linear_a8_of<Encoding::kQ8>(
        {Encoding::kQ8, panels, n, args.head_dim, q.codes, q.blocks, 1, s, n, false});
  }
}

// What becomes of earlier tiles, and of a tile, when it joins them.
struct TileFactors {
  float shrink;
  float grow;
};

// Scores -> weights p[i], in place; with them `top` rises and `sum` grows.
inline TileFactors weigh_scores_f16(float factor, float* p, int n, float& top, float* sum) {
  for (int i = 0; i < n; ++i) p[i] *= factor;
  const float tile_top = max_of(p, n);
  const float new_top = tile_top > top ? tile_top : top;
  const float shrink = exp2_of_negative(top - new_top);
  top = new_top;
  float lanes[kAttentionSums] = {};
  for (int i = 0; i < n; ++i) {
    p[i] = exp2_of_negative(p[i] - new_top);
    lanes[i % kAttentionSums] += p[i];
  }
  for (int j = 0; j < kAttentionSums; ++j) sum[j] = lanes[j] + sum[j] * shrink;
  return {shrink, 1.0f};
}

// What makes a word x[i] of a score.
struct WordOfScore {
  WordOfScore(float factor, float tile_top)
      : slope(factor * kExp2WordStep), offset(kExp2WordOfZero - tile_top * kExp2WordStep) {}

  // Not-a-number gives 0.
  std::uint16_t operator()(float dot) const {
    const float x = std::nearbyint(std::fma(dot, slope, offset));
    return static_cast<std::uint16_t>(x > 0.0f ? std::min(x, kExp2WordOfZero) : 0.0f);
  }

  float slope;
  float offset;
};

// Raises `top` to that of a tile whose weights are integers.
inline TileFactors raise_top(float tile_top, bool has_nan, float& top) {
  const float new_top = tile_top > top ? tile_top : top;
  const float shrink = exp2_of_negative(top - new_top);
  const float grow = exp2_of_negative(tile_top - new_top);
  top = new_top;
  const bool sound = !has_nan && std::fabs(tile_top) < kScoreLimit;
  return {shrink, sound ? grow : std::numeric_limits<float>::quiet_NaN()};
}

inline float grown_sum(float sum, const TileFactors& factors, int of_words) {
  return std::fma(static_cast<float>(of_words) * (1.0f / kExp2WordOne), factors.grow,
                  sum * factors.shrink);
}

// The same with integers: p[i] = 2^-14 w[i].
inline TileFactors weigh_scores_q8(float factor, float* p, int n, float& top, float& sum) {
  const float tile_top = max_of(p, n) * factor;
  const bool has_nan = std::any_of(p, p + n, [](float score) { return std::isnan(score); });
  const TileFactors factors = raise_top(tile_top, has_nan, top);
  const WordOfScore word(factor, tile_top);
  int of_words = 0;
  for (int i = 0; i < n; ++i) {
    const int weight = exp2_word(word(p[i]));
    of_words += weight;
    p[i] = static_cast<float>(weight) * (1.0f / kExp2WordOne);
  }
  sum = grown_sum(sum, factors, of_words);
  return factors;
}

// sum: kAttentionSums, of which int8 values take the first.
inline TileFactors weigh_scores(KvType v_type, float factor, float* p, int n, float& top,
                                float* sum) {
  return v_type == KvType::kQ8 ? weigh_scores_q8(factor, p, n, top, *sum)
                               : weigh_scores_f16(factor, p, n, top, sum);
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

// How the scales of a tile, of at most `top`, become integers, and weights times them become
// floats again: t = round(scale * to_word), weight * scale = c * of_code.
struct WeightScale {
  float to_word;
  float of_code;
};

// What is not finite gives not-a-number, what is tiny zero.
inline WeightScale weight_scale(float top) {
  if (!(top < std::numeric_limits<float>::infinity())) {
    return {0.0f, std::numeric_limits<float>::quiet_NaN()};
  }
  if (top < kA8Smallest) return {0.0f, 0.0f};
  return {kValueScaleMax / top, top / kWeightMax};
}

// The low bits of the sum are the integer. Beside what is not finite any integer will do, since
// of_code is not-a-number.
inline int scale_word(float scale, float to_word) {
  const float word = std::fma(scale, to_word, kRoundingMagic);
  return static_cast<int>(std::bit_cast<std::uint32_t>(word) & 0x7fffu);
}

inline int weight_code(int weight, int scale) { return (weight * scale + (1 << 14)) >> 15; }

// What makes a byte of a code, times 2^15.
inline int byte_factor(int largest_code) {
  const float ratio = kByteFactorOfOne / static_cast<float>(std::max(largest_code, 1));
  return static_cast<int>(std::min(ratio, kByteFactorMax));
}
inline float codes_a_byte(int factor) { return kByteFactorUnit / static_cast<float>(factor); }

// The codes of a tile, or those a row sees of it, become bytes; returns the factor.
inline int codes_to_bytes(int* codes, int n) {
  const int factor = byte_factor(n == 0 ? 0 : *std::max_element(codes, codes + n));
  for (int i = 0; i < n; ++i) codes[i] = (codes[i] * factor + (1 << 14)) >> 15;
  return factor;
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
          panels + i / kKvPanel * panel_bytes + value_scales_offset(args.head_dim, b);
      scales[i] = half_at(halves, i % kKvPanel);
      top = max_magnitude(top, scales[i]);
    }
    const WeightScale scale = weight_scale(top);
    int c[kAttentionTile];
    for (int i = 0; i < n; ++i) {
      c[i] =
          weight_code(static_cast<int>(p[i] * kExp2WordOne), scale_word(scales[i], scale.to_word));
    }
    const float of_byte = scale.of_code * grow * codes_a_byte(codes_to_bytes(c, n));
    for (std::int64_t d = b * kColumnGroup; d < (b + 1) * kColumnGroup; ++d) {
      std::int32_t sum = 0;
      for (int i = 0; i < n; ++i) {
        const int lane = i % kKvPanel;
        const std::byte* panel = panels + i / kKvPanel * panel_bytes;
        const std::byte code = panel[(lane / 4 * args.head_dim + d) * 4 + lane % 4];
        sum += c[i] * static_cast<std::int8_t>(code);
      }
      acc[d] = std::fma(static_cast<float>(sum), of_byte, acc[d]);
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
        const TileFactors factors = weigh_scores(args.v_type, q.factor, p, n, state.top, state.sum);
        add_values(args, p, p0, n, factors, state.acc);
      }
      float* out = args.out + t * args.out_stride + h * args.head_dim;
      divide_by_sum(state.acc, sum_of_weights(state.sum), args.head_dim, out);
    }
  }
}

}  // namespace
}  // namespace cria::spec

// attention with NEON: what sdot (neon_dotprod.cc) and usmmla (neon_i8mm.cc) share. Internal
// linkage throughout, as in panel/generic.h.
//
// Both take int8 values as they lie in the cache: a register is 4 columns of 4 positions.
#pragma once

#include "kernels/activation/neon.h"
#include "kernels/attention/block.h"
#include "kernels/panel/neon.h"
#include "kernels/softmax/neon.h"

namespace cria::neon {
namespace {

using attention_block::Block;
using attention_block::kTile;
using attention_block::Row;
using attention_block::TopScore;
using attention_block::ValuePanels;
using attention_block::ValueScales;

inline constexpr int kPanelsATile = kTile / kKvPanel;

inline float32x4x2_t load_eight_halves(const std::uint16_t* at) {
  const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(at));
  return {{vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)}};
}

// --- half floats ---------------------------------------------------------------------------------

// As the Form of attention/block.h. 2 heads x 4 positions x 2 are 16 registers of sums.
template <int kHeads>
inline void score_halves(const AttentionArgs& args, const float* q, std::int64_t p0, int n,
                         float (*scores)[kTile]) {
  const std::int64_t dim = args.head_dim;
  const float factor = spec::score_factor(args);
  const auto* keys = reinterpret_cast<const std::uint16_t*>(args.k);
  for (int i = 0; i < n; i += 4) {
    const std::uint16_t* k[4];
    for (int p = 0; p < 4; ++p) {  // past the end: the last position again, not used
      k[p] = keys + (p0 + (i + p < n ? i + p : n - 1)) * dim;
    }
    float32x4_t dot[kHeads][4][2];
    for (auto& head : dot) {
      for (auto& sum : head) sum[0] = sum[1] = vdupq_n_f32(0.0f);
    }
    for (std::int64_t d = 0; d < dim; d += 8) {
      CRIA_UNROLL
      for (int p = 0; p < 4; ++p) {
        const float32x4x2_t key = load_eight_halves(k[p] + d);
        CRIA_UNROLL
        for (int h = 0; h < kHeads; ++h) {
          const float* query = q + h * dim + d;
          dot[h][p][0] = vfmaq_f32(dot[h][p][0], vld1q_f32(query), key.val[0]);
          dot[h][p][1] = vfmaq_f32(dot[h][p][1], vld1q_f32(query + 4), key.val[1]);
        }
      }
    }
    for (int h = 0; h < kHeads; ++h) {
      vst1q_f32(scores[h] + i, vmulq_n_f32(sums_of_lanes(dot[h]), factor));
    }
  }
}

// acc[h][d .. d + 8 * kVectors) += sum over i < n of weights[h][i] * v[p0 + i].
template <int kHeads, int kVectors>
inline void add_halves(const AttentionArgs& args, const float (*weights)[kTile], std::int64_t p0,
                       int n, std::int64_t d, Row* rows) {
  float32x4_t acc[kHeads][2 * kVectors];
  CRIA_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    CRIA_UNROLL
    for (int j = 0; j < 2 * kVectors; ++j) acc[h][j] = vld1q_f32(rows[h].acc + d + 4 * j);
  }
  const auto* v = reinterpret_cast<const std::uint16_t*>(args.v) + p0 * args.head_dim + d;
  for (int i = 0; i < n; ++i, v += args.head_dim) {
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      const float32x4x2_t value = load_eight_halves(v + 8 * j);
      CRIA_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        acc[h][2 * j] = vfmaq_n_f32(acc[h][2 * j], value.val[0], weights[h][i]);
        acc[h][2 * j + 1] = vfmaq_n_f32(acc[h][2 * j + 1], value.val[1], weights[h][i]);
      }
    }
  }
  CRIA_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    CRIA_UNROLL
    for (int j = 0; j < 2 * kVectors; ++j) vst1q_f32(rows[h].acc + d + 4 * j, acc[h][j]);
  }
}

// --- softmax -------------------------------------------------------------------------------------

// Weights past n, up to a multiple of 16, become zero; those after it stay as they are.
inline void weigh_tile(const AttentionArgs& args, float* scores, int n, Row& row) {
  const float shrink = attention_block::raise_top(args, max_of(scores, n), row);
  for (int i = n; i % 16 != 0; ++i) scores[i] = -std::numeric_limits<float>::infinity();
  const float32x4_t top = vdupq_n_f32(row.top);
  float32x4_t sum[4];
  CRIA_UNROLL
  for (float32x4_t& quarter : sum) quarter = vdupq_n_f32(0.0f);
  for (int i = 0; i < n; i += 16) {
    CRIA_UNROLL
    for (int quarter = 0; quarter < 4; ++quarter) {
      float* at = scores + i + 4 * quarter;
      const float32x4_t p = exp2_of_negative(vsubq_f32(vld1q_f32(at), top));
      vst1q_f32(at, p);
      sum[quarter] = vaddq_f32(sum[quarter], p);
    }
  }
  for (int quarter = 0; quarter < 4; ++quarter) {
    float* before = row.sum + 4 * quarter;
    vst1q_f32(before, vaddq_f32(vmulq_n_f32(vld1q_f32(before), shrink), sum[quarter]));
  }
}

// Ones in the lanes i .. i + 7 that are below n.
inline uint16x8_t below(int i, int n) {
  static constexpr std::int16_t kIota[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  return vcltq_s16(vld1q_s16(kIota), vdupq_n_s16(static_cast<std::int16_t>(n - i)));
}

// --- values as int8 ------------------------------------------------------------------------------

inline void load_value_scales(const AttentionArgs& args, std::int64_t p0, int n,
                              ValueScales& scales) {
  const std::int64_t dim = args.head_dim, panel_bytes = kv_panel_bytes(dim);
  const std::byte* panel = args.v + p0 / kKvPanel * panel_bytes + value_scales_offset(dim, 0);
  for (int first = 0; first < n; first += kKvPanel, panel += panel_bytes) {
    for (std::int64_t b = 0; b < dim / kColumnGroup; ++b) {
      for (int i = 0; i < kKvPanel; i += 4) {
        vst1q_f32(scales[b].of_positions + first + i, load_halves(panel + 2 * (b * kKvPanel + i)));
      }
    }
  }
  for (std::int64_t b = 0; b < dim / kColumnGroup; ++b) scales[b].begin();
}

// Weights of one row for 32 columns as bytes.
struct WeightBytes {
  alignas(16) std::uint8_t of[kTile];
  float scale;
};

inline void scale_words(const float* scales, float to_word, int n, std::int16_t* words) {
  const float32x4_t magic = vdupq_n_f32(spec::kRoundingMagic);
  for (int i = 0; i < kTile; i += 8) {
    const float32x4_t a = vfmaq_n_f32(magic, vld1q_f32(scales + i), to_word);
    const float32x4_t b = vfmaq_n_f32(magic, vld1q_f32(scales + i + 4), to_word);
    const uint16x8_t low =
        vuzp1q_u16(vreinterpretq_u16_f32(a), vreinterpretq_u16_f32(b));  // the low halves
    const uint16x8_t scale_words = vandq_u16(low, vdupq_n_u16(0x7fff));
    vst1q_s16(words + i, vreinterpretq_s16_u16(vandq_u16(scale_words, below(i, n))));
  }
}

// Weights as bytes of the first `n` positions, and zeros; returns spec::byte_factor.
inline int quantize_row(const std::int16_t* words, const std::int16_t* scales, int n,
                        WeightBytes& out) {
  const int n_panels = static_cast<int>((n + kKvPanel - 1) / kKvPanel);
  int16x8_t codes[kTile / 8];
  int16x8_t largest = vdupq_n_s16(0);
  for (int i = 0; i < 2 * n_panels; ++i) {
    codes[i] = vqrdmulhq_s16(vld1q_s16(words + 8 * i), vld1q_s16(scales + 8 * i));
    largest = vmaxq_s16(largest, codes[i]);
  }
  const int factor = spec::byte_factor(vmaxvq_s16(largest));
  const auto byte_of = [factor](int16x8_t code) {
    return vqmovun_s16(vqrdmulhq_n_s16(code, static_cast<std::int16_t>(factor)));
  };
  for (int p = 0; p < n_panels; ++p) {
    vst1q_u8(out.of + kKvPanel * p, vcombine_u8(byte_of(codes[2 * p]), byte_of(codes[2 * p + 1])));
  }
  const auto n_bytes = static_cast<std::size_t>(kKvPanel) * static_cast<std::size_t>(n_panels);
  std::memset(out.of + n_bytes, 0, kTile - n_bytes);
  return factor;
}

// acc[r][d .. d + 4 * kParts) += scale[r] * sum over positions of weights[r] * the tile's.
template <typename Form, int kRows, int kParts>
inline void add_codes(const ValuePanels& panels, const WeightBytes* weights, std::int64_t d,
                      Row* rows) {
  typename Form::template Sums<kRows, kParts> sums;
  const std::byte* values = panels.first + 4 * d;
  for (int p = 0; p < panels.n; ++p, values += panels.panel_bytes) {
    sums.add_panel(reinterpret_cast<const std::int8_t*>(values), panels.quad_bytes, weights, p);
  }
  CRIA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    CRIA_UNROLL
    for (int j = 0; j < kParts; ++j) {
      float* acc = rows[r].acc + d + 4 * j;
      const float32x4_t sum = vcvtq_f32_s32(sums.of(r, j));
      vst1q_f32(acc, vfmaq_n_f32(vld1q_f32(acc), sum, weights[r].scale));
    }
  }
}

// The Form of attention/block.h, but for linear_a8. Form says how int8 is multiplied:
//   linear_a8(args)                    the op
//   Sums<rows, parts>                  rows times 4 * parts columns, zeros at first
//     add_panel(values, quad_bytes, weights, panel)
//                                      += weights[r].of times columns 4 * j .., 16 positions
//     of(r, j)                         4 columns of a row
template <typename Form>
struct NeonAttention : Form {
  template <int kHeads>
  static void score_halves(const AttentionArgs& args, const float* q, std::int64_t p0, int n,
                           float (*scores)[kTile]) {
    neon::score_halves<kHeads>(args, q, p0, n, scores);
  }

  static void weigh_tile(const AttentionArgs& args, float* scores, int n, Row& row) {
    neon::weigh_tile(args, scores, n, row);
  }

  template <bool kWhole>
  static TopScore top_of(const float* scores, int n) {
    float32x4_t tops = vdupq_n_f32(-std::numeric_limits<float>::infinity());
    uint32x4_t is_number = vdupq_n_u32(~0u);
    const int n_fours = kWhole ? kTile : n / 4 * 4;
    for (int i = 0; i < n_fours; i += 4) {
      const float32x4_t s = vld1q_f32(scores + i);
      is_number = vandq_u32(is_number, vceqq_f32(s, s));
      tops = vbslq_f32(vcgtq_f32(s, tops), s, tops);  // as neon::max_of
    }
    TopScore top = {vmaxvq_f32(tops), vminvq_u32(is_number) == 0};
    for (int i = n_fours; !kWhole && i < n; ++i) {
      top.has_nan |= std::isnan(scores[i]);
      top.score = scores[i] > top.score ? scores[i] : top.score;
    }
    return top;
  }

  template <bool kWhole>
  static int make_words(const float* scores, const spec::WordOfScore& word, int n,
                        std::int16_t* words) {
    const float32x4_t slope = vdupq_n_f32(word.slope), offset = vdupq_n_f32(word.offset);
    const auto x_at = [&](int i) {  // saturates
      return vqmovun_s32(vcvtnq_s32_f32(vfmaq_f32(offset, vld1q_f32(scores + i), slope)));
    };
    uint32x4_t sum = vdupq_n_u32(0);
    for (int i = 0; i < kTile; i += 8) {
      uint16x8_t weights = vdupq_n_u16(0);
      if (kWhole || i < n) weights = exp2_words(vcombine_u16(x_at(i), x_at(i + 4)));
      if (!kWhole) weights = vandq_u16(weights, below(i, n));
      vst1q_s16(words + i, vreinterpretq_s16_u16(weights));
      sum = vpadalq_u16(sum, weights);
    }
    return static_cast<int>(vaddvq_u32(sum));
  }

  static void scale_words(const float* scales, float to_word, int n, std::int16_t* words) {
    neon::scale_words(scales, to_word, n, words);
  }

  template <int kHeads>
  static void add_row_halves(Block& block, int r, std::int64_t p0) {
    const AttentionArgs& args = block.args;
    const int n = block.rows[r].n_in_tile(p0);
    std::int64_t d = 0;
    for (; d + 32 <= args.head_dim; d += 32) {
      add_halves<kHeads, 4>(args, block.scores + r, p0, n, d, &block.rows[r]);
    }
    for (; d < args.head_dim; d += 8) {
      add_halves<kHeads, 1>(args, block.scores + r, p0, n, d, &block.rows[r]);
    }
  }

  using WeightBytes = neon::WeightBytes;

  static void load_value_scales(const AttentionArgs& args, std::int64_t p0, int n,
                                ValueScales& scales) {
    neon::load_value_scales(args, p0, n, scales);
  }

  static int quantize_row(const std::int16_t* words, const std::int16_t* scales, int n,
                          WeightBytes& out) {
    return neon::quantize_row(words, scales, n, out);
  }

  template <int kRows>
  static void add_codes(const ValuePanels& panels, const WeightBytes* weights, std::int64_t d,
                        Row* rows) {
    constexpr int kParts = kRows <= 2 ? 4 : 2;
    for (std::int64_t at = d; at < d + kColumnGroup; at += 4 * kParts) {
      neon::add_codes<Form, kRows, kParts>(panels, weights, at, rows);
    }
  }
};

}  // namespace
}  // namespace cria::neon

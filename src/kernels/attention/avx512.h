// attention on 512-bit registers: what AVX-512 VNNI and AMX share. Internal linkage throughout, as
// in panel/generic.h.
//
// A register of keys as half floats is two positions of eight columns, which keeps the order of the
// specification's eight sums.
//
// vpdpbusd takes int8 values as they lie in the cache: a register is 16 columns of 4 positions. The
// other factor, weights as bytes, is unsigned.
#pragma once

#include "kernels/activation/avx512.h"
#include "kernels/attention/avx2.h"
#include "kernels/attention/avx512_floats.h"
#include "kernels/isa.h"
#include "kernels/panel/avx512.h"

namespace cria::avx512 {
namespace {

using attention_block::Block;
using attention_block::kTile;
using attention_block::Row;
using attention_block::TopScore;
using attention_block::ValuePanels;
using attention_block::ValueScales;

constexpr int kVectors = kTile / 16;

// The lanes i .. i + 15 that are below n.
inline __mmask16 below(int i, int n) {
  static constexpr std::int32_t kIota[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(n - i), load_512(kIota));
}

// Scores [16 * i, 16 * i + 16) of a row that sees n: -infinity, of which no weight comes, past
// them. kWhole: n is all of the tile.
template <bool kWhole>
inline __m512 seen_scores(const float* scores, int i, int n) {
  const __m512 s = _mm512_loadu_ps(scores + 16 * i);
  if (kWhole) return s;
  const __m512 infinity = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  return _mm512_mask_blend_ps(below(16 * i, n), infinity, s);
}

inline __m256 low_half(__m512 v) { return _mm512_castps512_ps256(v); }
inline __m256 high_half(__m512 v) { return _mm512_extractf32x8_ps(v, 1); }

// --- weights -------------------------------------------------------------------------------------

// Weights of one row for 32 columns as bytes, each four of them where quad_at has it.
struct WeightBytes {
  alignas(64) std::uint8_t of[kTile];
  float scale;
};

// Words are in the order in which two registers of 16 integers become one: of a block of 32, four
// of the first 16, four of the second, and so on. Bytes are in the order in which two registers of
// such words become one.
constexpr int kWordVectors = kTile / 32;
constexpr int kBytesPanels = 64 / kKvPanel;  // of a register of bytes

// Where the weights of a quad of a panel begin.
constexpr int quad_at(int panel, int quad) {
  return panel / kBytesPanels * 64 + 4 * (quad * kBytesPanels + panel % kBytesPanels);
}

// spec::byte_factor of the largest of some codes, as an integer.
inline __m128i byte_factor(__m512i codes) {
  const __m512 lanes = _mm512_castsi512_ps(codes);
  return avx2::byte_factor(_mm256_max_epi16(_mm256_castps_si256(low_half(lanes)),
                                            _mm256_castps_si256(high_half(lanes))));
}

// Words times scales, as bytes; returns spec::byte_factor.
inline int store_bytes(const __m512i (&words)[kWordVectors], const std::int16_t* scales,
                       std::uint8_t* bytes) {
  __m512i codes[kWordVectors];
  __m512i largest = _mm512_setzero_si512();
  CRIA_UNROLL
  for (int i = 0; i < kWordVectors; ++i) {
    codes[i] = _mm512_mulhrs_epi16(words[i], load_512(scales + 32 * i));
    largest = _mm512_max_epi16(largest, codes[i]);
  }
  const __m128i factor = byte_factor(largest);
  const __m512i factors = _mm512_broadcastw_epi16(factor);
  CRIA_UNROLL
  for (int i = 0; i < kWordVectors; i += 2) {
    const __m512i of_codes = _mm512_packus_epi16(_mm512_mulhrs_epi16(codes[i], factors),
                                                 _mm512_mulhrs_epi16(codes[i + 1], factors));
    _mm512_storeu_si512(bytes + 32 * i, of_codes);
  }
  return _mm_cvtsi128_si32(factor);
}

inline int quantize_row(const std::int16_t* words, const std::int16_t* scales, WeightBytes& out) {
  __m512i of_row[kWordVectors];
  CRIA_UNROLL
  for (int i = 0; i < kWordVectors; ++i) of_row[i] = load_512(words + 32 * i);
  return store_bytes(of_row, scales, out.of);
}

template <bool kWhole>
inline TopScore top_of(const float* scores, int n) {
  __m512 top = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 sum = _mm512_setzero_ps();
  CRIA_UNROLL
  for (int i = 0; i < kVectors; ++i) {
    const __m512 s = seen_scores<kWhole>(scores, i, n);
    sum = _mm512_add_ps(sum, s);
    top = _mm512_max_ps(s, top);  // in this order not-a-number is passed over
  }
  return {avx2::max_of_lanes(_mm256_max_ps(low_half(top), high_half(top))),
          _mm512_cmp_ps_mask(sum, sum, _CMP_UNORD_Q) != 0};
}

// Scores of a row -> words.
struct WordsOfScores {
  const float* scores;
  __m512 slope;  // as in spec::WordOfScore
  __m512 offset;

  // Of scores [32 * i, 32 * i + 32) of a row that sees n.
  template <bool kWhole>
  __m512i words(int i, int n, const Exp2Words& exp2) const {
    return exp2(_mm512_packus_epi32(x_at<kWhole>(2 * i, n), x_at<kWhole>(2 * i + 1, n)));
  }

 private:
  template <bool kWhole>
  __m512i x_at(int i, int n) const {
    return _mm512_cvtps_epi32(_mm512_fmadd_ps(seen_scores<kWhole>(scores, i, n), slope, offset));
  }
};

// Adds words to sums, lane by lane.
inline __m512i add_words(__m512i sum, __m512i words) {
  return _mm512_dpwssd_epi32(sum, words, _mm512_set1_epi16(1));
}

template <bool kWhole>
inline int make_words(const float* scores, const spec::WordOfScore& word, int n,
                      std::int16_t* words) {
  const WordsOfScores of_scores = {scores, _mm512_set1_ps(word.slope), _mm512_set1_ps(word.offset)};
  const Exp2Words exp2;
  __m512i sum = _mm512_setzero_si512();
  CRIA_UNROLL
  for (int i = 0; i < kWordVectors; ++i) {
    const __m512i w = of_scores.words<kWhole>(i, n, exp2);
    sum = add_words(sum, w);
    _mm512_storeu_si512(words + 32 * i, w);
  }
  const __m512 lanes = _mm512_castsi512_ps(sum);
  return avx2::sum_of_ints(_mm256_add_epi32(_mm256_castps_si256(low_half(lanes)),
                                            _mm256_castps_si256(high_half(lanes))));
}

inline void scale_words(const float* scales, float to_word, int n, std::int16_t* words) {
  const __m512 magic = _mm512_set1_ps(spec::kRoundingMagic);
  const auto word_at = [&](int i) {
    const __m512 x = _mm512_fmadd_ps(_mm512_loadu_ps(scales + i), _mm512_set1_ps(to_word), magic);
    const __m512i word = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fff));
    return _mm512_mask_blend_epi32(below(i, n), _mm512_setzero_si512(), word);
  };
  CRIA_UNROLL
  for (int i = 0; i < kTile; i += 32)
    _mm512_storeu_si512(words + i, _mm512_packus_epi32(word_at(i), word_at(i + 16)));
}

// --- values as int8 ------------------------------------------------------------------------------

// acc[r][d .. d + 32) += scale[r] * sum over positions of weights[r] * the tile's.
template <int kRows>
inline void add_codes(const ValuePanels& panels, const WeightBytes* weights, std::int64_t d,
                      Row* rows) {
  __m512i sum[kRows][2];
  for (auto& row : sum) row[0] = row[1] = _mm512_setzero_si512();
  for (int p = 0; p < panels.n; ++p) {
    const std::byte* values = panels.first + p * panels.panel_bytes + 4 * d;
    CRIA_UNROLL
    for (int q = 0; q < kKvPanel / 4; ++q, values += panels.quad_bytes) {
      const __m512i v[2] = {load_512(values), load_512(values + 64)};
      CRIA_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const __m512i quad = broadcast_32(weights[r].of + quad_at(p, q));
        CRIA_UNROLL
        for (int j = 0; j < 2; ++j) sum[r][j] = _mm512_dpbusd_epi32(sum[r][j], quad, v[j]);
      }
    }
  }
  CRIA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const __m512 scale = _mm512_set1_ps(weights[r].scale);
    CRIA_UNROLL
    for (int j = 0; j < 2; ++j) {
      float* acc = rows[r].acc + d + 16 * j;
      _mm512_storeu_ps(acc,
                       _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][j]), scale, _mm512_loadu_ps(acc)));
    }
  }
}

// --- half floats ---------------------------------------------------------------------------------

constexpr int kScorePairs = 4;  // of positions: 2 heads x 4 pairs = 8 sums

// As avx2::score_halves.
template <int kHeads>
inline void score_halves(const AttentionArgs& args, const float* q, std::int64_t p0, int n,
                         float (*scores)[kTile]) {
  const std::int64_t dim = args.head_dim;
  const auto* keys = reinterpret_cast<const std::uint16_t*>(args.k);
  const __m128 factor = _mm_set1_ps(spec::score_factor(args));
  for (int i = 0; i < n; i += 2 * kScorePairs) {
    const std::uint16_t* k[2 * kScorePairs];
    CRIA_UNROLL
    for (int p = 0; p < 2 * kScorePairs; ++p) {  // past the end: the last again, not used
      k[p] = keys + (p0 + (i + p < n ? i + p : n - 1)) * dim;
    }
    __m512 dot[kHeads][kScorePairs];
    CRIA_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      CRIA_UNROLL
      for (int p = 0; p < kScorePairs; ++p) dot[h][p] = _mm512_setzero_ps();
    }
    for (std::int64_t d = 0; d < dim; d += 8) {
      __m512 query[kHeads];
      CRIA_UNROLL
      for (int h = 0; h < kHeads; ++h) query[h] = load_twice(q + h * dim + d);
      CRIA_UNROLL
      for (int p = 0; p < kScorePairs; ++p) {
        const __m512 key = load_two(k[2 * p] + d, k[2 * p + 1] + d);
        CRIA_UNROLL
        for (int h = 0; h < kHeads; ++h) dot[h][p] = _mm512_fmadd_ps(query[h], key, dot[h][p]);
      }
    }
    CRIA_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      CRIA_UNROLL
      for (int p = 0; p < kScorePairs; p += 2) {
        const __m128 sums = avx2::sums_of_lanes(low_half(dot[h][p]), high_half(dot[h][p]),
                                                low_half(dot[h][p + 1]), high_half(dot[h][p + 1]));
        _mm_storeu_ps(scores[h] + i + 2 * p, _mm_mul_ps(sums, factor));
      }
    }
  }
}

// As avx2::add_halves, for kVectors times 16 columns.
template <int kHeads, int kVectors>
inline void add_halves(const AttentionArgs& args, const float (*weights)[kTile], std::int64_t p0,
                       int n, std::int64_t d, Row* rows) {
  __m512 acc[kHeads][kVectors];
  CRIA_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) acc[h][j] = _mm512_loadu_ps(rows[h].acc + d + 16 * j);
  }
  const auto* v = reinterpret_cast<const std::uint16_t*>(args.v) + p0 * args.head_dim + d;
  for (int i = 0; i < n; ++i, v += args.head_dim) {
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      const __m512 value = load_halves(v + 16 * j);
      CRIA_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        acc[h][j] = _mm512_fmadd_ps(_mm512_set1_ps(weights[h][i]), value, acc[h][j]);
      }
    }
  }
  CRIA_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) _mm512_storeu_ps(rows[h].acc + d + 16 * j, acc[h][j]);
  }
}

template <int kHeads>
inline void add_row_halves(Block& block, int r, std::int64_t p0) {
  constexpr int kMost = 4;
  const std::int64_t dim = block.args.head_dim;
  const int n = block.rows[r].n_in_tile(p0);
  std::int64_t d = 0;
  for (; d + 16 * kMost <= dim; d += 16 * kMost) {
    add_halves<kHeads, kMost>(block.args, block.scores + r, p0, n, d, &block.rows[r]);
  }
  for (; d + 16 <= dim; d += 16) {
    add_halves<kHeads, 1>(block.args, block.scores + r, p0, n, d, &block.rows[r]);
  }
  for (; d < dim; d += 8) {
    avx2::add_halves<kHeads, 1>(block.args, block.scores + r, p0, n, d, &block.rows[r]);
  }
}

// What attention/block.h leaves open.
struct Avx512Attention {
  static void linear_a8(const LinearA8Args& args) { CRIA_AVX512VNNI_NAME(linear_a8)(args); }

  template <int kHeads>
  static void score_halves(const AttentionArgs& args, const float* q, std::int64_t p0, int n,
                           float (*scores)[kTile]) {
    avx512::score_halves<kHeads>(args, q, p0, n, scores);
  }

  template <int kHeads>
  static void add_row_halves(Block& block, int r, std::int64_t p0) {
    avx512::add_row_halves<kHeads>(block, r, p0);
  }

  static bool score_tile_f16(Block& block, std::int64_t p0, int n) {
    if (block.n_rows < kFloatRows) return false;
    score_tile_floats(block, p0, n);
    return true;
  }

  static bool add_values_f16(Block& block, std::int64_t p0, int n) {
    if (block.n_rows < kFloatRows || block.args.head_dim % 16 != 0) return false;
    add_tile_floats(block, p0, n);
    return true;
  }

  static void weigh_tile(const AttentionArgs& args, float* scores, int n, Row& row) {
    const float tile_top = top_of<false>(scores, n).score;
    const __m512 shrink = _mm512_set1_ps(attention_block::raise_top(args, tile_top, row));
    const __m512 top = _mm512_set1_ps(row.top);
    const Exp2OfNegative exp2;
    __m512 sum = _mm512_setzero_ps();
    CRIA_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      const __m512 p = exp2(_mm512_sub_ps(seen_scores<false>(scores, i, n), top));
      _mm512_storeu_ps(scores + 16 * i, p);
      sum = _mm512_add_ps(sum, p);
    }
    const __m512 shrunk = _mm512_mul_ps(_mm512_loadu_ps(row.sum), shrink);
    _mm512_storeu_ps(row.sum, _mm512_add_ps(sum, shrunk));
  }

  template <bool kWhole>
  static TopScore top_of(const float* scores, int n) {
    return avx512::top_of<kWhole>(scores, n);
  }

  template <bool kWhole>
  static int make_words(const float* scores, const spec::WordOfScore& word, int n,
                        std::int16_t* words) {
    return avx512::make_words<kWhole>(scores, word, n, words);
  }

  static void scale_words(const float* scales, float to_word, int n, std::int16_t* words) {
    avx512::scale_words(scales, to_word, n, words);
  }

  using WeightBytes = avx512::WeightBytes;

  static void load_value_scales(const AttentionArgs& args, std::int64_t p0, int n,
                                ValueScales& scales) {
    avx2::load_value_scales(args, p0, n, scales);
  }

  static int quantize_row(const std::int16_t* words, const std::int16_t* scales, int,
                          WeightBytes& out) {
    return avx512::quantize_row(words, scales, out);
  }

  template <int kRows>
  static void add_codes(const ValuePanels& panels, const WeightBytes* weights, std::int64_t d,
                        Row* rows) {
    avx512::add_codes<kRows>(panels, weights, d, rows);
  }
};

}  // namespace
}  // namespace cria::avx512

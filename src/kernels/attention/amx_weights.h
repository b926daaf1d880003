// attention with AMX-INT8: the softmax of a step. Internal linkage throughout, as in
// panel/generic.h.
#pragma once

#include "kernels/attention/amx_values.h"

namespace cria {
namespace amx_attention {
namespace {

// Codes of 64 positions in both planes, from the words of them.
inline void store_planes(__m512i a, __m512i b, std::uint8_t* low, std::uint8_t* high) {
  // Where the low bytes of 32 words are, in the order of positions.
  alignas(64) static constexpr std::uint8_t kLowBytes[64] = {
      0, 2,  4,  6,  16, 18, 20, 22, 32, 34, 36, 38, 48, 50, 52, 54,  //
      8, 10, 12, 14, 24, 26, 28, 30, 40, 42, 44, 46, 56, 58, 60, 62,  //
      0, 2,  4,  6,  16, 18, 20, 22, 32, 34, 36, 38, 48, 50, 52, 54,  //
      8, 10, 12, 14, 24, 26, 28, 30, 40, 42, 44, 46, 56, 58, 60, 62};
  constexpr __mmask64 kSecond = std::uint64_t{0xffffffff} << 32;
  const __m512i at_low = load_512(kLowBytes);
  const __m512i at_high = _mm512_or_si512(at_low, _mm512_set1_epi8(1));
  const __m512i low_of_a = _mm512_permutexvar_epi8(at_low, a);
  const __m512i high_of_a = _mm512_permutexvar_epi8(at_high, a);
  _mm512_storeu_si512(low, _mm512_mask_permutexvar_epi8(low_of_a, kSecond, at_low, b));
  _mm512_storeu_si512(high, _mm512_mask_permutexvar_epi8(high_of_a, kSecond, at_high, b));
}

// Lane r of the result is all lanes of v[r], put together by `op`: two registers become one that
// has pairs of lanes of both, and so on. v is used up.
template <typename Op>
inline __m512 lanes_of_rows(__m512 (&v)[kRows], Op op) {
  constexpr int kEven = 0x88, kOdd = 0xdd;  // of four lanes, or of four quarters
  const auto by_lanes = [op](__m512 a, __m512 b) {
    return op(_mm512_shuffle_ps(a, b, kEven), _mm512_shuffle_ps(a, b, kOdd));
  };
  const auto by_quarters = [op](__m512 a, __m512 b) {
    return op(_mm512_shuffle_f32x4(a, b, kEven), _mm512_shuffle_f32x4(a, b, kOdd));
  };
  CRIA_UNROLL
  for (int r = 0; r < kRows; r += 2) v[r / 2] = by_lanes(v[r], v[r + 1]);
  CRIA_UNROLL
  for (int r = 0; r < kRows / 2; r += 2) v[r / 2] = by_lanes(v[r], v[r + 1]);
  CRIA_UNROLL
  for (int r = 0; r < kRows / 4; r += 2) v[r / 2] = by_quarters(v[r], v[r + 1]);
  return by_quarters(v[0], v[1]);
}

// The largest score of each row; not-a-number is passed over.
inline __m512 max_of_rows(const float (*scores)[kTile]) {
  __m512 tops[kRows];
  CRIA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    __m512 top = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    CRIA_UNROLL
    for (int i = 0; i < kTile; i += 16) top = _mm512_max_ps(_mm512_loadu_ps(scores[r] + i), top);
    tops[r] = top;
  }
  return lanes_of_rows(tops, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
}

// Which rows have not-a-number among their scores.
inline unsigned rows_with_nan(const float (*scores)[kTile]) {
  unsigned rows = 0;
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kTile; i += 16) {
      const __m512 s = _mm512_loadu_ps(scores[r] + i);
      if (_mm512_cmp_ps_mask(s, s, _CMP_UNORD_Q) != 0) rows |= 1u << r;
    }
  }
  return rows;
}

// Scores -> weights of a step.
class WeighPass {
 public:
  WeighPass(const Step& step, std::int64_t head_dim, Scratch& scratch, Weights& out)
      : rows_(*step.rows), step_(step), head_dim_(head_dim), scores_(scratch.scores), out_(out) {}

  // And meanwhile the values of the step before. `may_have_nan`: scores may be not-a-number though
  // factors are not.
  void run(ValueMultiplier meanwhile, bool may_have_nan) {
    raise_tops(may_have_nan);
    const int n_rows = rows_.n - step_.first;
    for (int r = step_.first, calls = 0; r < rows_.n; ++r) {
      const int due = meanwhile.n_calls() * (r - step_.first + 1) / n_rows;
      for (; calls < due; ++calls) meanwhile.advance();
      const int n_groups = n_scales_of(step_, head_dim_);
      for (int g = 0; g < n_groups; ++g)
        step_.values->scales[g].normalize<Avx512Attention>(step_.n_seen[r]);
      n_groups == 1 ? weigh_row<1>(r) : weigh_row<0>(r);
    }
    add_sums();
  }

 private:
  // spec::raise_top and spec::WordOfScore of all rows.
  void raise_tops(bool may_have_nan) {
    const Exp2OfNegative exp2;
    const __m512 factor = _mm512_loadu_ps(rows_.factor), old = _mm512_loadu_ps(rows_.top);
    const __m512 tile = _mm512_mul_ps(max_of_rows(scores_), factor);
    const __m512 top = _mm512_max_ps(tile, old);
    _mm512_storeu_ps(rows_.top, top);
    _mm512_storeu_ps(out_.shrink, exp2(_mm512_sub_ps(old, top)));
    const __m512 limit = _mm512_set1_ps(spec::kScoreLimit),
                 negative = _mm512_set1_ps(-spec::kScoreLimit);
    unsigned sound = _mm512_cmp_ps_mask(tile, limit, _CMP_LT_OQ) &
                     _mm512_cmp_ps_mask(tile, negative, _CMP_GT_OQ);
    if (may_have_nan) sound &= ~rows_with_nan(scores_);
    const __m512 nan = _mm512_set1_ps(std::numeric_limits<float>::quiet_NaN());
    const __m512 grow = exp2(_mm512_sub_ps(tile, top));
    _mm512_storeu_ps(grow_, _mm512_mask_blend_ps(static_cast<__mmask16>(sound), nan, grow));
    const __m512 steps = _mm512_set1_ps(spec::kExp2WordStep);
    _mm512_storeu_ps(slope_, _mm512_mul_ps(factor, steps));
    _mm512_storeu_ps(
        offset_, _mm512_sub_ps(_mm512_set1_ps(spec::kExp2WordOfZero), _mm512_mul_ps(tile, steps)));
  }

  // kScales is 0 for any number.
  template <int kScales>
  void weigh_row(int r) {
    __m512i words[kWordVectors];
    const __m512i sum = words_of_scores<true>(scores_[r], _mm512_set1_ps(slope_[r]),
                                              _mm512_set1_ps(offset_[r]), kTile, words);
    _mm512_storeu_si512(sums_[r], sum);
    const int n_groups = kScales > 0 ? kScales : n_scales_of(step_, head_dim_);
    CRIA_UNROLL
    for (int g = 0; g < n_groups; ++g) {
      const attention_block::ColumnScales& scales = step_.values->scales[g];
      out_.scale[g][r] = scales.of_code * grow_[r];
      CRIA_UNROLL
      for (int i = 0; i < kWordVectors; i += 2) {
        const __m512i a = _mm512_mulhrs_epi16(words[i], load_512(scales.words + 32 * i));
        const __m512i b = _mm512_mulhrs_epi16(words[i + 1], load_512(scales.words + 32 * i + 32));
        store_planes(a, b, out_.low[g][r] + 32 * i, out_.high[g][r] + 32 * i);
      }
    }
  }

  // spec::grown_sum of the rows of the step: the lanes of those before its first are masked.
  void add_sums() {
    __m512 of_rows[kRows];
    CRIA_UNROLL
    for (int r = 0; r < kRows; ++r) of_rows[r] = _mm512_loadu_ps(sums_[r]);
    const __m512i of_words = _mm512_castps_si512(lanes_of_rows(of_rows, [](__m512 a, __m512 b) {
      return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
    }));
    const __m512 of_tile =
        _mm512_mul_ps(_mm512_cvtepi32_ps(of_words), _mm512_set1_ps(1.0f / spec::kExp2WordOne));
    const __m512 before = _mm512_loadu_ps(rows_.sum);
    const __m512 shrunk = _mm512_mul_ps(before, _mm512_loadu_ps(out_.shrink));
    const __m512 sum = _mm512_fmadd_ps(of_tile, _mm512_loadu_ps(grow_), shrunk);
    _mm512_storeu_ps(rows_.sum, _mm512_mask_blend_ps(below(0, step_.first), sum, before));
  }

  Rows& rows_;
  const Step& step_;
  const std::int64_t head_dim_;
  const float (*scores_)[kTile];
  Weights& out_;
  alignas(64) float slope_[kRows];
  alignas(64) float offset_[kRows];
  alignas(64) float grow_[kRows];      // what the tile's sums grow by
  alignas(64) float sums_[kRows][16];  // of words, as integers
};

}  // namespace
}  // namespace amx_attention
}  // namespace cria

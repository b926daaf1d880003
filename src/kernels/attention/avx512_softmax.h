// attention over a cache in int8 on 512-bit registers: the softmax of a step. Internal linkage
// throughout, as in panel/generic.h.
#pragma once

#include "kernels/attention/avx512_steps.h"

namespace cria {
namespace attention_steps {
namespace {

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

// The largest score of each row from `begin` to `end`; not-a-number is passed over.
inline __m512 max_of_rows(const float (*scores)[kTile], int begin, int end) {
  __m512 tops[kRows];
  CRIA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    __m512 top = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    if (r >= begin && r < end) {
      CRIA_UNROLL
      for (int i = 0; i < kTile; i += 16) top = _mm512_max_ps(_mm512_loadu_ps(scores[r] + i), top);
    }
    tops[r] = top;
  }
  return lanes_of_rows(tops, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
}

// Which rows have not-a-number among their scores.
inline unsigned rows_with_nan(const float (*scores)[kTile], int begin, int end) {
  unsigned rows = 0;
  for (int r = begin; r < end; ++r) {
    for (int i = 0; i < kTile; i += 16) {
      const __m512 s = _mm512_loadu_ps(scores[r] + i);
      if (_mm512_cmp_ps_mask(s, s, _CMP_UNORD_Q) != 0) rows |= 1u << r;
    }
  }
  return rows;
}

// A row whose scores are to become planes of weights, where all groups have one scale.
struct RowToWeigh {
  const float* scores;
  float slope;  // as in spec::WordOfScore
  float offset;
  const std::int16_t* scales;
  std::uint8_t* low;
  std::uint8_t* high;
  float* sum;  // of words, lane by lane, as integers: added to
};

// 64 positions of it, in kSteps steps of one to four instructions, which are to be strewn over
// something else.
class RowWeigher {
 public:
  static constexpr int kPositions = 64;
  static constexpr int kParts = kTile / kPositions;
  static constexpr int kSteps = 32;

  RowWeigher(const RowToWeigh& row, int part)
      : scores_(row.scores + kPositions * part),
        scales_(row.scales + kPositions * part),
        low_(row.low + kPositions * part),
        high_(row.high + kPositions * part),
        slope_(_mm512_set1_ps(row.slope)),
        offset_(_mm512_set1_ps(row.offset)),
        sum_(load_512(row.sum)) {}

  // `step` is a constant once loops are unrolled.
  void advance(int step) {
    if (step < kWordSteps) return advance_words(0, step);
    if (step < 2 * kWordSteps) return advance_words(1, step - kWordSteps);
    advance_planes(step - 2 * kWordSteps);
  }

  void advance_all() {
    CRIA_UNROLL
    for (int i = 0; i < 2; ++i) {
      CRIA_UNROLL
      for (int step = 0; step < kWordSteps; ++step) advance_words(i, step);
    }
    CRIA_UNROLL
    for (int step = 0; step < kSteps - 2 * kWordSteps; ++step) advance_planes(step);
  }

  __m512i sum() const { return sum_; }

 private:
  static constexpr int kWordSteps = 13;  // of 32 positions

  // As WordsOfScores, but for one instruction after the other.
  void advance_words(int i, int step) {
    const float* scores = scores_ + 32 * i;
    switch (step) {
      case 0:
        a_ = _mm512_fmadd_ps(_mm512_loadu_ps(scores), slope_, offset_);
        return;
      case 1:
        b_ = _mm512_fmadd_ps(_mm512_loadu_ps(scores + 16), slope_, offset_);
        return;
      case 2:
        x_ = _mm512_cvtps_epi32(a_);
        q_ = _mm512_cvtps_epi32(b_);
        return;
      case 3:
        x_ = _mm512_packus_epi32(x_, q_);
        return;
      case 4:
        x_ = Exp2Words::turn(x_);
        return;
      case 5:
        q_ = Exp2Words::multiply(x_, Exp2Words::coefficient(0));
        return;
      case 6:
        q_ = _mm512_add_epi16(q_, Exp2Words::coefficient(1));
        return;
      case 7:
        q_ = Exp2Words::multiply(x_, q_);
        return;
      case 8:
        q_ = _mm512_add_epi16(q_, Exp2Words::coefficient(2));
        return;
      case 9:
        q_ = Exp2Words::multiply(x_, q_);
        return;
      case 10:
        q_ = Exp2Words::halve(_mm512_add_epi16(q_, Exp2Words::coefficient(3)), x_);
        return;
      case 11:
        sum_ = add_words(sum_, q_);
        return;
      default:
        codes_[i] = _mm512_mulhrs_epi16(q_, load_512(scales_ + 32 * i));
    }
  }

  // As store_planes.
  void advance_planes(int step) {
    const __m512i byte = _mm512_set1_epi32(0x00ff00ff), order = load_512(kPlaneOrder);
    switch (step) {
      case 0:
        x_ = _mm512_packus_epi16(_mm512_and_si512(codes_[0], byte),
                                 _mm512_and_si512(codes_[1], byte));
        return;
      case 1:
        _mm512_storeu_si512(low_, _mm512_permutexvar_epi32(order, x_));
        return;
      case 2:
        codes_[0] = _mm512_srli_epi16(codes_[0], 8);
        codes_[1] = _mm512_srli_epi16(codes_[1], 8);
        return;
      case 3:
        x_ = _mm512_packus_epi16(codes_[0], codes_[1]);
        return;
      case 4:
        x_ = _mm512_permutexvar_epi32(order, x_);
        return;
      default:
        _mm512_storeu_si512(high_, x_);
    }
  }

  const float* scores_;
  const std::int16_t* scales_;
  std::uint8_t* low_;
  std::uint8_t* high_;
  __m512 slope_, offset_, a_, b_;
  __m512i sum_, x_, q_, codes_[2];
};

// Scores -> weights of a step: first begin(), then the rows from first_row() to n_rows() in turn,
// then finish().
class WeighPass {
 public:
  WeighPass(const Step& step, TileValueScales& scales, std::int64_t head_dim,
            const float (*scores)[kTile], Weights& out)
      : rows_(*step.rows),
        step_(step),
        scales_(scales.of),
        n_scales_(scales.n(head_dim)),
        scores_(scores),
        out_(out) {}

  int first_row() const { return step_.first; }
  int n_rows() const { return rows_.n; }

  // spec::raise_top and spec::WordOfScore of all rows. `may_have_nan`: scores may be
  // not-a-number though factors are not.
  void begin(bool may_have_nan) {
    const Exp2OfNegative exp2;
    const __m512 factor = _mm512_loadu_ps(rows_.factor), old = _mm512_loadu_ps(rows_.top);
    const __m512 tile = _mm512_mul_ps(max_of_rows(scores_, step_.first, rows_.n), factor);
    const __m512 top = _mm512_max_ps(tile, old);
    _mm512_storeu_ps(rows_.top, top);
    _mm512_storeu_ps(out_.shrink, exp2(_mm512_sub_ps(old, top)));
    const __m512 limit = _mm512_set1_ps(spec::kScoreLimit),
                 negative = _mm512_set1_ps(-spec::kScoreLimit);
    unsigned sound = _mm512_cmp_ps_mask(tile, limit, _CMP_LT_OQ) &
                     _mm512_cmp_ps_mask(tile, negative, _CMP_GT_OQ);
    if (may_have_nan) sound &= ~rows_with_nan(scores_, step_.first, rows_.n);
    const __m512 nan = _mm512_set1_ps(std::numeric_limits<float>::quiet_NaN());
    const __m512 grow = exp2(_mm512_sub_ps(tile, top));
    _mm512_storeu_ps(grow_, _mm512_mask_blend_ps(static_cast<__mmask16>(sound), nan, grow));
    const __m512 steps = _mm512_set1_ps(spec::kExp2WordStep);
    _mm512_storeu_ps(slope_, _mm512_mul_ps(factor, steps));
    _mm512_storeu_ps(
        offset_, _mm512_sub_ps(_mm512_set1_ps(spec::kExp2WordOfZero), _mm512_mul_ps(tile, steps)));
  }

  void weigh_row(int r) {
    normalize(r);
    n_scales_ == 1 ? weigh_row_of<1>(r) : weigh_row_of<0>(r);
  }

  // For those who do it themselves, with a RowWeigher for each part. REQUIRES: shares_scales().
  bool shares_scales() const {  // all groups, and all rows, which see as many positions
    return n_scales_ == 1 && step_.n_seen[step_.first] == step_.n_seen[rows_.n - 1];
  }
  RowToWeigh row(int r) {
    normalize(r);
    out_.scale[0][r] = scales_[0].of_code * grow_[r];
    _mm512_storeu_si512(sums_[r], _mm512_setzero_si512());
    return {scores_[r],     slope_[r],       offset_[r], scales_[0].words,
            out_.low[0][r], out_.high[0][r], sums_[r]};
  }

  // spec::grown_sum of the rows of the step: the lanes of those before its first are masked.
  void finish() {
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

 private:
  void normalize(int r) {
    for (int g = 0; g < n_scales_; ++g) scales_[g].normalize<Avx512Attention>(step_.n_seen[r]);
  }

  // kScales is 0 for any number.
  template <int kScales>
  void weigh_row_of(int r) {
    const WordsOfScores from = {scores_[r], _mm512_set1_ps(slope_[r]), _mm512_set1_ps(offset_[r])};
    const Exp2Words exp2;
    __m512i words[kWordVectors];
    __m512i sum = _mm512_setzero_si512();
    CRIA_UNROLL
    for (int i = 0; i < kWordVectors; ++i) {
      words[i] = from.words<true>(i, kTile, exp2);
      sum = add_words(sum, words[i]);
    }
    _mm512_storeu_si512(sums_[r], sum);
    const int n_scales = kScales > 0 ? kScales : n_scales_;
    CRIA_UNROLL
    for (int g = 0; g < n_scales; ++g) {
      const attention_block::ColumnScales& scales = scales_[g];
      out_.scale[g][r] = scales.of_code * grow_[r];
      CRIA_UNROLL
      for (int i = 0; i < kWordVectors; i += 2) {
        const __m512i a = _mm512_mulhrs_epi16(words[i], load_512(scales.words + 32 * i));
        const __m512i b = _mm512_mulhrs_epi16(words[i + 1], load_512(scales.words + 32 * i + 32));
        store_planes(a, b, out_.low[g][r] + 32 * i, out_.high[g][r] + 32 * i);
      }
    }
  }

  Rows& rows_;
  const Step& step_;
  ValueScales& scales_;
  const int n_scales_;
  const float (*scores_)[kTile];
  Weights& out_;
  alignas(64) float slope_[kRows];
  alignas(64) float offset_[kRows];
  alignas(64) float grow_[kRows];      // what the tile's sums grow by
  alignas(64) float sums_[kRows][16];  // of words, as integers
};

}  // namespace
}  // namespace attention_steps
}  // namespace cria

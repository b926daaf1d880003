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

// A row whose scores are to become weights, where all groups have one scale.
struct RowToWeigh {
  const float* scores;
  float slope;  // as in spec::WordOfScore
  float offset;
  const std::int16_t* scales;
  std::uint8_t* bytes;
  float* byte_factor;
  float* sum;  // of words, lane by lane, as integers
};

// It in kSteps steps of a few instructions, which are to be strewn over something else.
class RowWeigher {
  static constexpr int kWordSteps = 13;  // of 32 positions
  static constexpr int kByteSteps = 8;

 public:
  static constexpr int kSteps = kWordSteps * kWordVectors + kByteSteps;

  explicit RowWeigher(const RowToWeigh& row)
      : row_(row),
        slope_(_mm512_set1_ps(row.slope)),
        offset_(_mm512_set1_ps(row.offset)),
        sum_(_mm512_setzero_si512()),
        largest_(_mm512_setzero_si512()) {}

  // `step` is a constant once loops are unrolled.
  void advance(int step) {
    if (step < kWordSteps * kWordVectors) {
      advance_words(step / kWordSteps, step % kWordSteps);
    } else {
      advance_bytes(step - kWordSteps * kWordVectors);
    }
  }

  void advance_all() {
    CRIA_UNROLL
    for (int step = 0; step < kSteps; ++step) advance(step);
  }

 private:
  // As WordsOfScores, but for one instruction after the other.
  void advance_words(int i, int step) {
    const float* scores = row_.scores + 32 * i;
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
        codes_[i] = _mm512_mulhrs_epi16(q_, load_512(row_.scales + 32 * i));
        largest_ = _mm512_max_epi16(largest_, codes_[i]);
    }
  }

  // As store_bytes.
  void advance_bytes(int step) {
    switch (step) {
      case 0: {
        const __m128i factor = byte_factor(largest_);
        factors_ = _mm512_broadcastw_epi16(factor);
        _mm_store_ss(row_.byte_factor, _mm_cvtepi32_ps(factor));
        return;
      }
      case 1:
        _mm512_storeu_si512(row_.sum, sum_);
        return;
      case 6:
        _mm512_storeu_si512(row_.bytes, _mm512_packus_epi16(codes_[0], codes_[1]));
        return;
      case 7:
        _mm512_storeu_si512(row_.bytes + 64, _mm512_packus_epi16(codes_[2], codes_[3]));
        return;
      default:
        codes_[step - 2] = _mm512_mulhrs_epi16(codes_[step - 2], factors_);
    }
  }

  const RowToWeigh& row_;
  __m512 slope_, offset_, a_, b_;
  __m512i sum_, largest_, x_, q_, codes_[kWordVectors], factors_;
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

  // For those who do it themselves, with a RowWeigher. REQUIRES: shares_scales().
  bool shares_scales() const {  // all groups, and all rows, which see as many positions
    return n_scales_ == 1 && step_.n_seen[step_.first] == step_.n_seen[rows_.n - 1];
  }
  RowToWeigh row(int r) {
    normalize(r);
    out_.scale[0][r] = scales_[0].of_code * grow_[r];
    return {scores_[r],       slope_[r],           offset_[r], scales_[0].words,
            out_.bytes[0][r], &byte_factor_[0][r], sums_[r]};
  }

  // spec::grown_sum and spec::codes_a_byte of the rows of the step: the lanes of those before its
  // first are masked, or nobody reads them.
  void finish() {
    for (int g = 0; g < n_scales_; ++g) {
      const __m512 codes_a_byte =
          _mm512_div_ps(_mm512_set1_ps(spec::kByteFactorUnit), _mm512_loadu_ps(byte_factor_[g]));
      const __m512 of_code = _mm512_loadu_ps(out_.scale[g]);
      _mm512_storeu_ps(out_.scale[g], _mm512_mul_ps(of_code, codes_a_byte));
    }
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
    for (int g = 0; g < n_scales; ++g) {
      const attention_block::ColumnScales& scales = scales_[g];
      out_.scale[g][r] = scales.of_code * grow_[r];
      const int factor = store_bytes(words, scales.words, out_.bytes[g][r]);
      byte_factor_[g][r] = static_cast<float>(factor);
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
  alignas(64) float byte_factor_[kMaxGroups][kRows];
};

}  // namespace
}  // namespace attention_steps
}  // namespace cria

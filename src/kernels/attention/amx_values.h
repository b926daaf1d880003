// attention with AMX-INT8: weights times values. Internal linkage throughout, as in
// panel/generic.h.
#pragma once

#include "kernels/attention/amx_step.h"

namespace cria {
namespace amx_attention {
namespace {

// Times 256, by bytes: that is left to the port that has nothing to do with floats.
inline __m512i shift_8(__m512i v) {
  alignas(64) static constexpr std::int8_t kFrom[64] = {
      -1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14,  //
      -1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14,  //
      -1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14,  //
      -1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14};
  return _mm512_shuffle_epi8(v, load_512(kFrom));
}

// Different scales of a position of the step's values, and so planes of its weights.
inline int n_scales_of(const Step& step, std::int64_t head_dim) {
  return step.values->one_scale ? 1 : static_cast<int>(head_dim / kColumnGroup);
}

// The weights of a step times its values, which are added to what its rows have, in calls that are
// strewn over something else: 16 columns after the other, begun in one call, stored in the next and
// added in the one after that, when others are begun.
class ValueMultiplier {
 public:
  // `step`: its rows may be null, and then there is nothing to do.
  ValueMultiplier(const Step& step, const Weights& weights, std::int64_t head_dim, Scratch& scratch)
      : step_(step),
        weights_(weights),
        sums_(scratch.of_values),
        head_dim_(head_dim),
        n_columns_(step.rows == nullptr ? 0 : static_cast<int>(head_dim / kColumns)) {}

  int n_calls() const { return n_columns_ == 0 ? 0 : 2 * n_columns_ + 1; }

  void advance() {
    const int column = n_calls_ / 2;
    if (n_calls_ % 2 == 0) {
      if (column > 0 && column <= n_columns_) add(column - 1);
      if (column < n_columns_) multiply(column);
    } else if (column < n_columns_) {
      store_products<2>(sums_[0]);
      store_products<3>(sums_[1]);
    }
    ++n_calls_;
  }

  void finish() {
    while (n_calls_ < n_calls()) advance();
  }

 private:
  int group_of(int column) const { return step_.values->one_scale ? 0 : column / 2; }

  void multiply(int column) {
    const int g = group_of(column);
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < step_.values->n_deep; ++i) {
      _tile_loadd(5, step_.values->codes[i][column], 64);
      _tile_loadd(4, weights_.low[g][0] + i * kDeep, kTile);
      _tile_dpbusd(2, 4, 5);
      _tile_loadd(4, weights_.high[g][0] + i * kDeep, kTile);
      _tile_dpbusd(3, 4, 5);
    }
  }

  // acc += the stored sums.
  void add(int column) {
    const float* scales = weights_.scale[group_of(column)];
    const auto& low = sums_[0];
    const auto& high = sums_[1];
    const std::int64_t head_dim = head_dim_;
    const int n = step_.rows->n;
    float* acc = step_.rows->acc + step_.first * head_dim + column * kColumns;
    for (int r = step_.first; r < n; ++r, acc += head_dim) {
      const __m512i both = _mm512_add_epi32(shift_8(load_512(high[r])), load_512(low[r]));
      const __m512 shrunk = _mm512_mul_ps(_mm512_loadu_ps(acc), _mm512_set1_ps(weights_.shrink[r]));
      const __m512 scale = _mm512_set1_ps(scales[r]);
      _mm512_storeu_ps(acc, _mm512_fmadd_ps(_mm512_cvtepi32_ps(both), scale, shrunk));
    }
  }

  const Step& step_;
  const Weights& weights_;
  AmxProducts* sums_;  // [low, high]
  const std::int64_t head_dim_;
  const int n_columns_;  // in 16
  int n_calls_ = 0;
};

}  // namespace
}  // namespace amx_attention
}  // namespace cria

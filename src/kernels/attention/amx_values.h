// attention with AMX-INT8: weights times values. Internal linkage throughout, as in
// panel/generic.h.
#pragma once

#include "kernels/attention/avx512_steps.h"
#include "kernels/panel/amx.h"

namespace cria {
namespace attention_steps {
namespace {

constexpr int kDeep = 64;     // positions of a tile register of values
constexpr int kColumns = 16;  // of a tile register of values

// Of a tile of the cache, whose panels, which have 16 positions, are put together once for all
// rows, in the order of quad_at.
struct AmxValues {
  int n_deep;  // in 64 positions
  TileValueScales scales;
  alignas(64) std::byte codes[kTile / kDeep][kMaxHeadDim / kColumns][kDeep / 4][64];

  // Those of positions [p0, p0 + n); codes past them are zeros up to the next 64.
  void load(const AttentionArgs& args, std::int64_t p0, int n) {
    constexpr int kQuadsOfPanel = kKvPanel / 4, kQuadsOfTile = kDeep / 4;
    const std::int64_t dim = args.head_dim, panel_bytes = kv_panel_bytes(dim);
    const std::byte* panels = args.v + p0 / kKvPanel * panel_bytes;
    const int n_stored = (n + 3) / 4, n_quads = (n + kDeep - 1) / kDeep * kQuadsOfTile;
    for (int q = 0; q < n_quads; ++q) {
      const std::byte* from =
          panels + q / kQuadsOfPanel * panel_bytes + q % kQuadsOfPanel * 4 * dim;
      auto* to = codes[q / kQuadsOfTile];
      for (std::int64_t c = 0; c < dim / kColumns; ++c) {
        const __m512i quad = q < n_stored ? load_512(from + 64 * c) : _mm512_setzero_si512();
        const int at = quad_at(q / kQuadsOfPanel, q % kQuadsOfPanel) / 4;
        _mm512_storeu_si512(to[c][at % kQuadsOfTile], quad);
      }
    }
    n_deep = n_quads / kQuadsOfTile;
    load_scales(args, p0, n, scales);
  }
};

// The weights of a step times its values, which are added to what its rows have, in calls that are
// strewn over something else: 16 columns after the other, begun in one call, stored in the next and
// added in the one after that, when others are begun.
class AmxMultiplier {
 public:
  AmxMultiplier(const Mix<AmxValues>& mix, AmxProducts& sums)
      : step_(mix.step),
        values_(mix.values),
        weights_(mix.weights),
        sums_(sums),
        head_dim_(mix.head_dim),
        n_columns_(step_.rows == nullptr ? 0 : static_cast<int>(head_dim_ / kColumns)) {}

  int n_calls() const { return n_columns_ == 0 ? 0 : 2 * n_columns_ + 1; }

  void advance() {
    const int column = n_calls_ / 2;
    if (n_calls_ % 2 == 0) {
      if (column > 0 && column <= n_columns_) add(column - 1);
      if (column < n_columns_) multiply(column);
    } else if (column < n_columns_) {
      store_products<2>(sums_);
    }
    ++n_calls_;
  }

  void finish() {
    while (n_calls_ < n_calls()) advance();
  }

 private:
  int group_of(int column) const { return values_.scales.one_scale ? 0 : column / 2; }

  void multiply(int column) {
    const int g = group_of(column);
    _tile_zero(2);
    for (int i = 0; i < values_.n_deep; ++i) {
      _tile_loadd(5, values_.codes[i][column], 64);
      _tile_loadd(4, weights_.bytes[g][0] + i * kDeep, kTile);
      _tile_dpbusd(2, 4, 5);
    }
  }

  // acc += the stored sums.
  void add(int column) {
    const float* scales = weights_.scale[group_of(column)];
    const std::int64_t head_dim = head_dim_;
    const int n = step_.rows->n;
    float* acc = step_.rows->acc + step_.first * head_dim + column * kColumns;
    for (int r = step_.first; r < n; ++r, acc += head_dim) {
      const __m512 shrunk = _mm512_mul_ps(_mm512_loadu_ps(acc), _mm512_set1_ps(weights_.shrink[r]));
      const __m512 scale = _mm512_set1_ps(scales[r]);
      _mm512_storeu_ps(acc, _mm512_fmadd_ps(_mm512_cvtepi32_ps(load_512(sums_[r])), scale, shrunk));
    }
  }

  const Step& step_;
  const AmxValues& values_;
  const Weights& weights_;
  AmxProducts& sums_;
  const std::int64_t head_dim_;
  const int n_columns_;  // in 16
  int n_calls_ = 0;
};

}  // namespace
}  // namespace attention_steps
}  // namespace cria

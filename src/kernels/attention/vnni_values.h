// attention with AVX-512 VNNI: weights times values, which are taken as they lie in the cache.
// Internal linkage throughout, as in panel/generic.h.
#pragma once

#include "kernels/attention/avx512_softmax.h"
#include "kernels/attention/vnni_tile.h"

namespace cria {
namespace attention_steps {
namespace {

// The weights of a step times its values, which are added to what its rows have: in units of four
// rows and 32 columns. Beside it scores of another step become weights, a few rows a unit, in the
// same loop: vpdpbusd leaves half of the ports to them.
class VnniMultiplier {
 public:
  explicit VnniMultiplier(const Mix<VnniValues>& mix)
      : step_(mix.step),
        values_(mix.values),
        weights_(mix.weights),
        head_dim_(mix.head_dim),
        n_groups_(static_cast<int>(mix.head_dim / kColumnGroup)) {
    if (step_.rows == nullptr) return;
    n_units_ = (step_.rows->n - step_.first + kMostRows - 1) / kMostRows * n_groups_;
  }

  void run() {
    for (int unit = 0; unit < n_units_; ++unit) run_unit<0>(unit, nullptr);
  }

  void run(WeighPass& pass) {
    const int n_rows = pass.n_rows() - pass.first_row();
    int r = pass.first_row();
    for (int unit = 0; unit < n_units_; ++unit) {
      const int end = pass.first_row() + n_rows * (unit + 1) / n_units_;
      const int n_weighed = pass.shares_scales() ? std::min(end - r, kMostWeighed) : 0;
      for (; r < end - n_weighed; ++r) pass.weigh_row(r);
      RowToWeigh rows[kMostWeighed];
      for (int i = 0; i < n_weighed; ++i, ++r) rows[i] = pass.row(r);
      if (n_weighed == 0) run_unit<0>(unit, rows);
      if (n_weighed == 1) run_unit<1>(unit, rows);
      if (n_weighed == 2) run_unit<2>(unit, rows);
    }
    for (; r < pass.n_rows(); ++r) pass.weigh_row(r);
  }

 private:
  // Times two planes and 32 columns they are 16 sums.
  static constexpr int kMostRows = 4;
  static constexpr int kMostWeighed = 2;

  template <int kWeighed>
  void run_unit(int unit, const RowToWeigh* to_weigh) const {
    const int r = step_.first + unit / n_groups_ * kMostRows, g = unit % n_groups_;
    switch (step_.rows->n - r) {
      case 1:
        return multiply<1, kWeighed>(r, g, to_weigh);
      case 2:
        return multiply<2, kWeighed>(r, g, to_weigh);
      case 3:
        return multiply<3, kWeighed>(r, g, to_weigh);
      default:
        return multiply<4, kWeighed>(r, g, to_weigh);
    }
  }

  // [row][plane][16 columns]
  template <int kRows>
  using Sums = __m512i[kRows][2][2];

  // Weights of some rows and 32 columns of values, from a panel on.
  struct Place {
    const std::uint8_t* low;
    const std::uint8_t* high;
    const std::byte* values;
    std::int64_t panel_bytes;
    std::int64_t quad_bytes;
    std::int64_t ahead;  // as Step has it

    void advance() {  // to the next panel
      low += kKvPanel;
      high += kKvPanel;
      values += panel_bytes;
    }
  };

  // Not inlined: it wants all registers.
  template <int kRows, int kWeighed>
  [[gnu::noinline]] void multiply(int r, int g, const RowToWeigh* to_weigh) const {
    const int of_weights = values_.scales.one_scale ? 0 : g;
    Place at = {weights_.low[of_weights][r],
                weights_.high[of_weights][r],
                values_.panels + 4 * g * kColumnGroup,
                values_.panel_bytes,
                4 * head_dim_,
                r == step_.first ? step_.ahead : 0};
    const int n_panels = step_.n_panels;
    Sums<kRows> sums;
    for (auto& row : sums) {
      for (auto& plane : row) plane[0] = plane[1] = _mm512_setzero_si512();
    }
    int p = 0;
    if constexpr (kWeighed > 0) {
      constexpr int kParts = kWeighed * RowWeigher::kParts;
      constexpr int kPanels = kKeyPanels / kParts;  // beside a part
      for (int i = 0; i < kParts; ++i) {
        const RowToWeigh& row = to_weigh[i / RowWeigher::kParts];
        RowWeigher weigher(row, i % RowWeigher::kParts);
        if (p + kPanels <= n_panels) {
          add_panels<kPanels>(at, sums, [&](int step) { weigher.advance(step); });
          p += kPanels;
        } else {
          weigher.advance_all();
        }
        _mm512_storeu_si512(row.sum, weigher.sum());
      }
    }
    for (; p < n_panels; ++p) add_panels<1>(at, sums, [](int) {});
    add_to_rows<kRows>(r, g, weights_.scale[of_weights], sums);
  }

  // sums += the products of some panels; goes on to the next. beside(step), for steps below
  // RowWeigher::kSteps, comes in between.
  template <int kPanels, int kRows, typename Beside>
  static void add_panels(Place& at, Sums<kRows>& sums, const Beside& beside) {
    constexpr int kPlaces = kPanels * kKvPanel / 4 * kRows;
    int place = 0;
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      CRIA_UNROLL
      for (int q = 0; q < kKvPanel / 4; ++q) {
        const std::byte* values = at.values + q * at.quad_bytes;
        if (at.ahead > 0) {
          ask_for(values + at.ahead);
          ask_for(values + at.ahead + 64);
        }
        const __m512i v[2] = {load_512(values), load_512(values + 64)};
        CRIA_UNROLL
        for (int j = 0; j < kRows; ++j) {
          const __m512i of_low = broadcast_32(at.low + j * kTile + 4 * q);
          const __m512i of_high = broadcast_32(at.high + j * kTile + 4 * q);
          CRIA_UNROLL
          for (int i = 0; i < 2; ++i) {
            sums[j][0][i] = _mm512_dpbusd_epi32(sums[j][0][i], of_low, v[i]);
            sums[j][1][i] = _mm512_dpbusd_epi32(sums[j][1][i], of_high, v[i]);
          }
          const int begin = RowWeigher::kSteps * place / kPlaces;
          ++place;
          const int end = RowWeigher::kSteps * place / kPlaces;
          CRIA_UNROLL
          for (int step = begin; step < end; ++step) beside(step);
        }
      }
      at.advance();
    }
  }

  template <int kRows>
  void add_to_rows(int r, int g, const float* scales, const Sums<kRows>& sums) const {
    float* acc = step_.rows->acc + r * head_dim_ + g * kColumnGroup;
    CRIA_UNROLL
    for (int j = 0; j < kRows; ++j, acc += head_dim_) {
      const __m512 scale = _mm512_set1_ps(scales[r + j]);
      const __m512 shrink = _mm512_set1_ps(weights_.shrink[r + j]);
      CRIA_UNROLL
      for (int i = 0; i < 2; ++i) {
        const __m512i both = _mm512_add_epi32(_mm512_slli_epi32(sums[j][1][i], 8), sums[j][0][i]);
        const __m512 shrunk = _mm512_mul_ps(_mm512_loadu_ps(acc + 16 * i), shrink);
        _mm512_storeu_ps(acc + 16 * i, _mm512_fmadd_ps(_mm512_cvtepi32_ps(both), scale, shrunk));
      }
    }
  }

  const Step& step_;
  const VnniValues& values_;
  const Weights& weights_;
  const std::int64_t head_dim_;
  const int n_groups_;
  int n_units_ = 0;
};

}  // namespace
}  // namespace attention_steps
}  // namespace cria

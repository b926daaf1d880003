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
  // Times 32 columns they are 8 sums.
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

  // [row][16 columns]
  template <int kRows>
  using Sums = __m512i[kRows][2];

  // 32 columns of values from a panel on.
  struct Place {
    const std::byte* values;
    std::int64_t panel_bytes;
    std::int64_t quad_bytes;
    std::int64_t ahead;  // as Step has it
  };

  // Not inlined: it wants all registers.
  template <int kRows, int kWeighed>
  [[gnu::noinline]] void multiply(int r, int g, const RowToWeigh* to_weigh) const {
    const int of_weights = values_.scales.one_scale ? 0 : g;
    const std::uint8_t(*weights)[kTile] = weights_.bytes[of_weights] + r;
    Place at = {values_.panels + 4 * g * kColumnGroup, values_.panel_bytes, 4 * head_dim_,
                r == step_.first ? step_.ahead : 0};
    const int n_panels = step_.n_panels;
    Sums<kRows> sums;
    for (auto& row : sums) row[0] = row[1] = _mm512_setzero_si512();
    int p = 0;
    if constexpr (kWeighed > 0) {
      constexpr int kPanels = kKeyPanels / kWeighed;  // beside a row
      for (int i = 0; i < kWeighed; ++i) {
        RowWeigher weigher(to_weigh[i]);
        if (p + kPanels <= n_panels) {
          add_panels<kPanels>(weights, p, at, sums, [&](int step) { weigher.advance(step); });
          p += kPanels;
        } else {
          weigher.advance_all();
        }
      }
    }
    for (; p < n_panels; ++p) add_panels<1>(weights, p, at, sums, [](int) {});
    add_to_rows<kRows>(r, g, weights_.scale[of_weights], sums);
  }

  // sums += the products of some panels from p on; `at` goes on to the next. beside(step), for
  // steps below RowWeigher::kSteps, comes in between.
  template <int kPanels, int kRows, typename Beside>
  static void add_panels(const std::uint8_t (*weights)[kTile], int p, Place& at, Sums<kRows>& sums,
                         const Beside& beside) {
    constexpr int kPlaces = kPanels * kKvPanel / 4 * kRows;
    // From there quad_at(i, q) on is quad_at(p + i, q): panels that share a register of bytes have
    // p and i in different bits.
    static_assert(kBytesPanels % kPanels == 0 || kPanels % kBytesPanels == 0);
    const std::uint8_t* of_panel = weights[0] + quad_at(p, 0);
    int place = 0;
    CRIA_UNROLL
    for (int i = 0; i < kPanels; ++i) {
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
          const __m512i quad = broadcast_32(of_panel + j * kTile + quad_at(i, q));
          CRIA_UNROLL
          for (int c = 0; c < 2; ++c) sums[j][c] = _mm512_dpbusd_epi32(sums[j][c], quad, v[c]);
          const int begin = RowWeigher::kSteps * place / kPlaces;
          ++place;
          const int end = RowWeigher::kSteps * place / kPlaces;
          CRIA_UNROLL
          for (int step = begin; step < end; ++step) beside(step);
        }
      }
      at.values += at.panel_bytes;
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
      for (int c = 0; c < 2; ++c) {
        const __m512 shrunk = _mm512_mul_ps(_mm512_loadu_ps(acc + 16 * c), shrink);
        _mm512_storeu_ps(acc + 16 * c,
                         _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[j][c]), scale, shrunk));
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

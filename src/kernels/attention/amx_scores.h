// attention with AMX-INT8: the scores of a step. Three things go on at a time, as in linear_a8:
// while the scores of a panel are made, the products of the next leave the tile registers, and
// those of the one behind it are begun. Read right after they are stored, products had to be waited
// for: that was a twentieth of all time. Internal linkage throughout, as in panel/generic.h.
#pragma once

#include "kernels/attention/avx512_steps.h"
#include "kernels/panel/amx.h"

namespace cria {
namespace attention_steps {
namespace {

static_assert(kRows == kAmxRows);

// Of a tile: [panel][group], as their scales.
struct AmxKeys {
  KeyScales scales;
  alignas(64) std::uint8_t codes[kKeyPanels * kMaxGroups][kQuads][64];  // signed

  // Those of positions [p0, p0 + n).
  void load(const AttentionArgs& args, std::int64_t p0, int n) {
    load_scales(args, p0, n, scales);
    const std::int64_t n_groups = args.head_dim / kColumnGroup;
    const std::int64_t panel_bytes = kv_panel_bytes(args.head_dim);
    const std::byte* panel = args.k + p0 / kKvPanel * panel_bytes;
    const __m512i offset = _mm512_set1_epi8(static_cast<char>(128));
    auto* to = codes;
    for (int p = 0; p * kKvPanel < n; ++p, panel += panel_bytes) {
      for (std::int64_t g = 0; g < n_groups; ++g, ++to) {
        const std::byte* group = panel + key_codes_offset(g);
        for (int q = 0; q < kQuads; ++q) {
          _mm512_storeu_si512((*to)[q], _mm512_sub_epi8(load_512(group + 64 * q), offset));
        }
      }
    }
  }
};

// Of a panel, group by group.
using AmxScoreProducts = AmxProducts[kMaxGroups];

// The scores of a step. kGroups is 0 for any number. kOneScale: KeyScales::one_scale, and an even
// number of groups; then the sums of all groups are made in one tile register.
template <int kGroups, bool kOneScale>
class AmxScorePass {
 public:
  // products: room for two panels.
  AmxScorePass(const Step& step, const AmxKeys& keys, std::int64_t head_dim,
               AmxScoreProducts* products, float (*scores)[kTile])
      : step_(step),
        keys_(keys),
        products_(products),
        scores_(scores),
        any_groups_(static_cast<int>(head_dim / kColumnGroup)) {}

  void run() {
    const __m512 infinity = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    for (int u = 0; u < n_parts(); ++u) {
      begin(u);
      keep(u);
    }
    begin(n_parts());
    const int n_units = step_.n_panels * n_parts();
    for (int u = 0; u < n_units; ++u) {
      score_quarter(u, 0);
      score_quarter(u, 1);
      keep(u + n_parts());
      score_quarter(u, 2);
      begin(u + n_parts() + 1);
      score_quarter(u, 3);
    }
    for (int p = step_.n_panels; p < kKeyPanels; ++p) {
      for (int r = 0; r < kRows; ++r) _mm512_storeu_ps(scores_[r] + kKvPanel * p, infinity);
    }
  }

 private:
  int n_groups() const { return kGroups > 0 ? kGroups : any_groups_; }
  // Of as many groups as there are registers for sums: what a panel's products, and the making of
  // its scores, are cut into.
  static constexpr int kPart = 4;
  int n_parts() const { return kOneScale ? 1 : (n_groups() + kPart - 1) / kPart; }

  // Queries times a part of a panel, which are in tile registers until keep(). `unit` counts the
  // parts of all panels; past the last nothing happens.
  void begin(int unit) {
    const int p = unit / n_parts(), g = unit % n_parts() * kPart;
    if (p >= step_.n_panels) return;
    if constexpr (kOneScale) return begin_all_groups(p);
    begin_group<0>(p, g);
    begin_group<1>(p, g);
    begin_group<2>(p, g);
    begin_group<3>(p, g);
  }
  template <int i>
  void begin_group(int p, int g) {
    if (g + i >= n_groups()) return;
    _tile_loadd(6, step_.rows->codes[(g + i) / 2][0] + (g + i) % 2 * kColumnGroup, 64);
    _tile_loadd(7, keys_.codes[p * n_groups() + g + i], 64);
    multiply_groups<i>();
    drop_groups();
  }
  // Two groups fill a tile register.
  void begin_all_groups(int p) {
    _tile_zero(0);
    for (int g = 0; g < n_groups(); g += 2) {
      _tile_loadd(4, step_.rows->codes[g / 2], 64);
      _tile_loadd(5, keys_.codes[p * n_groups() + g], 64);
      _tile_dpbssd(0, 4, 5);
    }
    _tile_zero(4);
    _tile_zero(5);
  }
  void keep(int unit) {
    const int p = unit / n_parts(), g = unit % n_parts() * kPart;
    if (p >= step_.n_panels) return;
    AmxProducts* out = products_[p % 2] + g;
    const int n = kOneScale ? 1 : n_groups() - g;
    store_products<0>(out[0]);
    if (n > 1) store_products<1>(out[1]);
    if (n > 2) store_products<2>(out[2]);
    if (n > 3) store_products<3>(out[3]);
  }

  // A quarter of the rows that are the unit's share of its panel's, from products of the whole
  // panel, as linear_a8 makes them.
  void score_quarter(int unit, int quarter) {
    const int p = unit / n_parts(), n = 4 * n_parts(), i = unit % n_parts() * 4 + quarter;
    const int begin = kRows * i / n, end = kRows * (i + 1) / n;
    if (step_.first == 0 && step_.n_seen[0] >= kKvPanel * (p + 1)) {
      score_rows<false>(p, begin, end);
    } else {
      score_rows<true>(p, begin, end);
    }
    asm volatile("" : : : "memory");  // in this order: tile instructions strewn over the others
  }

  // kMasked: some rows do not see all of the panel.
  template <bool kMasked>
  void score_rows(int p, int begin, int end) {
    const __m512 infinity = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    const int n_sums = kOneScale ? 1 : n_groups();
    const AmxProducts* products = products_[p % 2];
    const auto* scales = keys_.scales.of + p * n_groups();
    for (int r = begin; r < end; ++r) {
      __m512 score = _mm512_setzero_ps();
      CRIA_UNROLL
      for (int g = 0; g < n_sums; ++g) {
        const __m512 product = _mm512_cvtepi32_ps(load_512(products[g][r]));
        score = _mm512_fmadd_ps(product, _mm512_loadu_ps(scales[g]), score);
      }
      if constexpr (kMasked) {
        score = _mm512_mask_blend_ps(below(kKvPanel * p, step_.n_seen[r]), infinity, score);
      }
      _mm512_storeu_ps(scores_[r] + kKvPanel * p, score);
    }
  }

  const Step& step_;
  const AmxKeys& keys_;
  AmxScoreProducts* products_;
  float (*scores_)[kTile];
  const int any_groups_;
};

}  // namespace
}  // namespace attention_steps
}  // namespace cria

// attention with AVX-512 VNNI: the scores of a step. vpdpbusd multiplies unsigned codes of keys, as
// they lie in the cache, by signed ones of queries; the sums start at what that adds, negated.
// Internal linkage throughout, as in panel/generic.h.
#pragma once

#include "kernels/attention/vnni_tile.h"
#include "kernels/panel/prefetch.h"

namespace cria {
namespace attention_steps {
namespace {

// The scores of a step. kGroups is 0 for any number. kOneScale: KeyScales::one_scale; then the sums
// of all groups are one.
template <int kGroups, bool kOneScale>
class VnniScorePass {
 public:
  VnniScorePass(const Step& step, const VnniKeys& keys, std::int64_t head_dim,
                float (*scores)[kTile])
      : step_(step),
        rows_(*step.rows),
        keys_(keys),
        scores_(scores),
        any_groups_(static_cast<int>(head_dim / kColumnGroup)) {}

  void run() {
    int p = 0;
    for (; !one_stream() && p + kMostPanels <= step_.n_panels; p += kMostPanels) {
      score_panels<kMostPanels>(p);
    }
    for (; p < step_.n_panels; ++p) score_panels<1>(p);
    const __m512 infinity = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    for (; p < kKeyPanels; ++p) {
      for (int r = step_.first; r < rows_.n; ++r) {
        _mm512_storeu_ps(scores_[r] + kKvPanel * p, infinity);
      }
    }
  }

 private:
  // Whether panels are read, and those of the next tile asked for, one after the other. One Zen 4
  // core, 1 token, 4096 positions from memory: 19.0 GB/s with four panels, 21.8 with one.
  bool one_stream() const { return step_.ahead > 0 && avx2::is_amd(); }

  // Four rows times four panels: a byte that is loaded is used four times, and 16 sums are more
  // than enough not to wait for one another. With a scale a group there are twice the sums.
  static constexpr int kMostPanels = 4;
  static constexpr int kMostRows = kOneScale ? 4 : 2;

  template <int kPanels>
  void score_panels(int p) {
    if (step_.n_seen[step_.first] >= kKvPanel * (p + kPanels)) {
      score_rows<kPanels, false>(p);
    } else {
      score_rows<kPanels, true>(p);
    }
  }

  // kMasked: some rows do not see all of the panels.
  template <int kPanels, bool kMasked>
  void score_rows(int p) {
    int r = step_.first;
    for (; r + kMostRows <= rows_.n; r += kMostRows) multiply<kPanels, kMostRows, kMasked>(p, r);
    for (; r < rows_.n; ++r) multiply<kPanels, 1, kMasked>(p, r);
  }

  // Not inlined: it wants all registers.
  template <int kPanels, int kRows, bool kMasked>
  [[gnu::noinline]] void multiply(int p, int r) {
    __m512i sums[kRows][kPanels];
    __m512 scores[kRows][kPanels];
    if constexpr (kOneScale) {
      const int n = n_groups();
      start<kPanels, kRows>(r, kMaxGroups, sums);
      CRIA_UNROLL
      for (int g = 0; g < n; ++g) add_group<kPanels, kRows>(p, r, g, sums);
    }
    CRIA_UNROLL
    for (int i = 0; i < kPanels; ++i) {
      CRIA_UNROLL
      for (int j = 0; j < kRows; ++j) scores[j][i] = _mm512_setzero_ps();
    }
    if constexpr (kOneScale) {
      add_scaled<kPanels, kRows>(p, 0, sums, scores);
    } else {
      for (int g = 0; g < n_groups(); ++g) {
        start<kPanels, kRows>(r, g, sums);
        add_group<kPanels, kRows>(p, r, g, sums);
        add_scaled<kPanels, kRows>(p, g, sums, scores);
      }
    }
    const __m512 infinity = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    CRIA_UNROLL
    for (int j = 0; j < kRows; ++j) {
      CRIA_UNROLL
      for (int i = 0; i < kPanels; ++i) {
        if constexpr (kMasked) {
          const __mmask16 seen = below(kKvPanel * (p + i), step_.n_seen[r + j]);
          scores[j][i] = _mm512_mask_blend_ps(seen, infinity, scores[j][i]);
        }
        _mm512_storeu_ps(scores_[r + j] + kKvPanel * (p + i), scores[j][i]);
      }
    }
  }

  // What the sums of a group, or of all, start at.
  template <int kPanels, int kRows>
  void start(int r, int g, __m512i (&sums)[kRows][kPanels]) const {
    CRIA_UNROLL
    for (int j = 0; j < kRows; ++j) {
      CRIA_UNROLL
      for (int i = 0; i < kPanels; ++i) {
        sums[j][i] = _mm512_set1_epi32(-128 * rows_.sums_of_codes[r + j][g]);
      }
    }
  }

  template <int kPanels, int kRows>
  void add_group(int p, int r, int g, __m512i (&sums)[kRows][kPanels]) const {
    const std::int8_t* queries = rows_.codes[g / 2][r] + g % 2 * kColumnGroup;
    const std::byte* panels = keys_.panels + p * keys_.panel_bytes + key_codes_offset(g);
    const std::int64_t ahead = r == step_.first ? step_.ahead : 0;
    CRIA_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      __m512i keys[kPanels];
      if (ahead > 0) {
        CRIA_UNROLL
        for (int i = 0; i < kPanels; ++i) ask_for(panels + i * keys_.panel_bytes + 64 * q + ahead);
      }
      CRIA_UNROLL
      for (int i = 0; i < kPanels; ++i) keys[i] = load_512(panels + i * keys_.panel_bytes + 64 * q);
      CRIA_UNROLL
      for (int j = 0; j < kRows; ++j) {
        const __m512i quad = broadcast_32(queries + j * 2 * kColumnGroup + 4 * q);
        CRIA_UNROLL
        for (int i = 0; i < kPanels; ++i) {
          sums[j][i] = _mm512_dpbusd_epi32(sums[j][i], keys[i], quad);
        }
      }
    }
  }

  // scores += sums times the scales of group g.
  template <int kPanels, int kRows>
  void add_scaled(int p, int g, const __m512i (&sums)[kRows][kPanels],
                  __m512 (&scores)[kRows][kPanels]) const {
    CRIA_UNROLL
    for (int i = 0; i < kPanels; ++i) {
      const __m512 of_keys = _mm512_loadu_ps(keys_.scales.of[(p + i) * n_groups() + g]);
      CRIA_UNROLL
      for (int j = 0; j < kRows; ++j) {
        scores[j][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[j][i]), of_keys, scores[j][i]);
      }
    }
  }

  int n_groups() const { return kGroups > 0 ? kGroups : any_groups_; }

  const Step& step_;
  const Rows& rows_;
  const VnniKeys& keys_;
  float (*scores_)[kTile];
  const int any_groups_;
};

}  // namespace
}  // namespace attention_steps
}  // namespace cria

// attention with AMX-INT8: what a step has, 16 rows and a tile of the cache. Internal linkage
// throughout, as in panel/generic.h.
#pragma once

#include "kernels/attention/avx512.h"
#include "kernels/panel/amx.h"
#include "kernels/store_q8/generic.h"

namespace cria {
namespace amx_attention {
namespace {

using namespace avx512;
using attention_block::kTile;

constexpr int kRows = kAmxRows;
constexpr int kKeyPanels = kTile / kKvPanel;
constexpr int kMaxGroups = kMaxHeadDim / kColumnGroup;
constexpr int kDeep = 64;     // positions of a tile register of values
constexpr int kColumns = 16;  // of a tile register of values

// --- a tile of the cache -------------------------------------------------------------------------

// [panel][group], one after the other: with room between them for larger heads they would crowd a
// few sets of the first-level cache.
struct Keys {
  bool has_nan;  // or infinity, among the scales: only then scores may be not-a-number
  // All groups of a position have one scale, of so few bits that the sum of their products times it
  // is the same number as the sum of each times it (store_q8/generic.h).
  bool one_scale;
  alignas(64) std::uint8_t codes[kKeyPanels * kMaxGroups][kQuads][64];  // signed
  alignas(64) float scales[kKeyPanels * kMaxGroups][kKvPanel];
};

inline unsigned not_zero(__m512i v) {
  const __m512i zero = _mm512_setzero_si512();
  return _mm512_cmpgt_epi32_mask(v, zero) | _mm512_cmpgt_epi32_mask(zero, v);
}

// The panels of positions [p0, p0 + n).
inline void load_keys(const AttentionArgs& args, std::int64_t p0, int n, Keys& keys) {
  const std::int64_t panel_bytes = kv_panel_bytes(args.head_dim);
  const auto n_groups = static_cast<int>(args.head_dim / kColumnGroup);
  const std::byte* panel = args.k + p0 / kKvPanel * panel_bytes;
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(128));
  const int n_bits = spec::key_scale_bits(args.head_dim);  // 0: no scale is short enough
  const __m512i behind =
      _mm512_set1_epi32(n_bits == 0 ? -1 : static_cast<int>(spec::bits_behind(n_bits)));
  unsigned nans = 0, others = 0;
  for (int p = 0; p * kKvPanel < n; ++p, panel += panel_bytes) {
    const std::byte* scales = panel + kv_panel_scales(args.head_dim);
    const __m512i first = _mm512_castps_si512(load_halves(scales));
    for (int g = 0; g < n_groups; ++g) {
      const int at = p * n_groups + g;
      CRIA_UNROLL
      for (int q = 0; q < kQuads; ++q) {
        const __m512i codes = load_512(panel + (g * kQuads + q) * 64);
        _mm512_storeu_si512(keys.codes[at][q], _mm512_sub_epi8(codes, offset));
      }
      const __m512 of_positions = load_halves(scales + g * 2 * kKvPanel);
      const __m512 zero_or_nan = _mm512_sub_ps(of_positions, of_positions);
      nans |= _mm512_cmp_ps_mask(zero_or_nan, zero_or_nan, _CMP_UNORD_Q);
      const __m512i bits = _mm512_castps_si512(of_positions);
      const __m512i wrong =
          _mm512_or_si512(_mm512_sub_epi32(bits, first), _mm512_and_si512(bits, behind));
      others |= below(kKvPanel * p, n) & not_zero(wrong);
      _mm512_storeu_ps(keys.scales[at], of_positions);
    }
  }
  keys.has_nan = nans != 0;
  keys.one_scale = n_groups % 2 == 0 && (nans | others) == 0;
}

struct Values {
  int n_deep;      // in 64 positions
  bool one_scale;  // all groups of each position have the same
  alignas(64) std::byte codes[kTile / kDeep][kMaxHeadDim / kColumns][kDeep / 4][64];
  ValueScales scales;
};

// Of positions [p0, p0 + n); codes past them are zeros up to the next 64.
inline void load_values(const AttentionArgs& args, std::int64_t p0, int n, Values& out) {
  constexpr int kQuadsOfPanel = kKvPanel / 4, kQuadsOfTile = kDeep / 4;
  const std::int64_t dim = args.head_dim, panel_bytes = kv_panel_bytes(dim);
  const std::byte* panels = args.v + p0 / kKvPanel * panel_bytes;
  const int n_stored = (n + 3) / 4, n_quads = (n + kDeep - 1) / kDeep * kQuadsOfTile;
  for (int q = 0; q < n_quads; ++q) {
    const std::byte* from = panels + q / kQuadsOfPanel * panel_bytes + q % kQuadsOfPanel * 4 * dim;
    auto* to = out.codes[q / kQuadsOfTile];
    for (std::int64_t c = 0; c < dim / kColumns; ++c) {
      const __m512i codes = q < n_stored ? load_512(from + 64 * c) : _mm512_setzero_si512();
      _mm512_storeu_si512(to[c][q % kQuadsOfTile], codes);
    }
  }
  out.n_deep = n_quads / kQuadsOfTile;
  avx2::load_value_scales(args, p0, n, out.scales);
  const auto n_bytes = static_cast<std::size_t>(n) * sizeof(float);
  out.one_scale = true;
  for (int g = 1; g < dim / kColumnGroup; ++g) {
    out.one_scale &=
        std::memcmp(out.scales[g].of_positions, out.scales[0].of_positions, n_bytes) == 0;
  }
}

// --- 16 rows -------------------------------------------------------------------------------------

// Rows of a call, each seeing at least as many positions as the one before, and their running state
// as spec::AttentionState.
struct Rows {
  int n;
  float* out[kRows];
  std::int64_t n_positions[kRows];
  // The queries; those past n are zeros, and those that are not finite, of which the factor is not
  // either.
  alignas(64) std::int8_t codes[kMaxGroups / 2][kRows][2 * kColumnGroup];  // two groups a tile
  alignas(64) float factor[kRows];  // what makes scores of their products with keys
  alignas(64) float top[kRows];
  alignas(64) float sum[kRows];
  alignas(64) float acc[kRows * kMaxHeadDim];  // [row][head_dim]

  void clear(std::int64_t head_dim) {
    n = 0;
    const auto n_pairs =
        static_cast<std::size_t>((head_dim + 2 * kColumnGroup - 1) / (2 * kColumnGroup));
    std::memset(codes, 0, n_pairs * sizeof(codes[0]));
    std::memset(factor, 0, sizeof(factor));
    std::memset(sum, 0, sizeof(sum));
    for (float& of_row : top) of_row = -std::numeric_limits<float>::infinity();
    std::memset(acc, 0, static_cast<std::size_t>(kRows * head_dim) * sizeof(float));
  }

  void add(const AttentionArgs& args, const float* q, float* to, std::int64_t n_seen) {
    out[n] = to;
    n_positions[n] = n_seen;
    const spec::QueryScale scale = spec::query_scale(q, args.head_dim);
    for (int g = 0; scale.finite && g < args.head_dim / kColumnGroup; ++g) {
      const float* x = q + g * kColumnGroup;
      std::int8_t* to = codes[g / 2][n] + g % 2 * kColumnGroup;
      for (int i = 0; i < kColumnGroup; ++i) to[i] = spec::a8_code(x[i], scale.to_code);
    }
    factor[n] = spec::score_factor(args) * scale.of_code;
    ++n;
  }

  // Positions that row r sees of the tile at p0.
  int n_in_tile(int r, std::int64_t p0) const { return spec::n_in_tile(n_positions[r], p0); }
};

// A step: 16 rows and a tile of the cache.
struct Step {
  Rows* rows = nullptr;
  Values* values = nullptr;
  int first = 0;      // the first row that sees anything of the tile
  int n_seen[kRows];  // positions that each row sees, not decreasing
  int n_panels = 0;   // of keys that any row sees

  Step() = default;
  Step(Rows& of_rows, Values& of_values, std::int64_t p0) : rows(&of_rows), values(&of_values) {
    if (rows->n_positions[0] >= p0 + kTile) {  // as most often, all rows see all of it
      std::fill_n(n_seen, kRows, kTile);
      n_panels = kKeyPanels;
      return;
    }
    for (int r = rows->n; r-- > 0;) {
      n_seen[r] = rows->n_in_tile(r, p0);
      if (n_seen[r] > 0) first = r;
    }
    n_panels = static_cast<int>((n_seen[rows->n - 1] + kKvPanel - 1) / kKvPanel);
  }
};

// Weights of a step, what a code is worth, and what the values of steps before shrink by.
struct Weights {
  alignas(64) std::uint8_t low[kMaxGroups][kRows][kTile];
  alignas(64) std::uint8_t high[kMaxGroups][kRows][kTile];
  float scale[kMaxGroups][kRows];
  alignas(64) float shrink[kRows];
};

// What passes of a step share.
struct Scratch {
  AmxProducts of_keys[2][kMaxGroups];      // of the panel at hand and the next
  AmxProducts of_values[2];                // [low, high], of 16 columns
  alignas(64) float scores[kRows][kTile];  // but for the factors of rows
  Weights weights[2];                      // of the step at hand and the one before, in turn
};

}  // namespace
}  // namespace amx_attention
}  // namespace cria

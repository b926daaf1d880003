// attention with AMX-INT8: what a step has, 16 rows and a tile of the cache. Internal linkage
// throughout, as in panel/generic.h.
#pragma once

#include "kernels/attention/avx512.h"
#include "kernels/panel/amx.h"

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
  alignas(64) std::uint8_t codes[kKeyPanels * kMaxGroups][kQuads][64];  // signed
  alignas(64) float scales[kKeyPanels * kMaxGroups][kKvPanel];
};

// The panels of positions [p0, p0 + n).
inline void load_keys(const AttentionArgs& args, std::int64_t p0, int n, Keys& keys) {
  const std::int64_t panel_bytes = kv_panel_bytes(args.head_dim);
  const auto n_groups = static_cast<int>(args.head_dim / kColumnGroup);
  const std::byte* panel = args.k + p0 / kKvPanel * panel_bytes;
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(128));
  unsigned nans = 0;
  for (int p = 0; p * kKvPanel < n; ++p, panel += panel_bytes) {
    const std::byte* scales = panel + kv_panel_scales(args.head_dim);
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
      _mm512_storeu_ps(keys.scales[at], of_positions);
    }
  }
  keys.has_nan = nans != 0;
}

struct Values {
  int n_deep;  // in 64 positions
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
  alignas(64) std::int8_t codes[kMaxGroups][kRows][kColumnGroup];
  alignas(64) float factor[kRows];  // what makes scores of their products with keys
  alignas(64) float top[kRows];
  alignas(64) float sum[kRows];
  alignas(64) float acc[kRows * kMaxHeadDim];  // [row][head_dim]

  void clear(std::int64_t head_dim) {
    n = 0;
    std::memset(codes, 0, static_cast<std::size_t>(kRows * head_dim));
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
      for (int i = 0; i < kColumnGroup; ++i) codes[g][n][i] = spec::a8_code(x[i], scale.to_code);
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

// attention over a cache in int8 on 512-bit registers: what a step has, 16 rows and a tile of the
// cache. AVX-512 VNNI and AMX differ in how they multiply (avx512_block.h). Internal linkage
// throughout, as in panel/generic.h.
#pragma once

#include "kernels/attention/avx512.h"
#include "kernels/store_q8/generic.h"

namespace cria {
namespace attention_steps {
namespace {

using namespace avx512;
using attention_block::kTile;
using attention_block::TileValueScales;

constexpr int kRows = 16;
constexpr int kKeyPanels = kTile / kKvPanel;
constexpr int kMaxGroups = kMaxHeadDim / kColumnGroup;

// --- a tile of the cache -------------------------------------------------------------------------

// Scales of the keys of a tile, [panel][group], one after the other: with room between them for
// larger heads they would crowd a few sets of the first-level cache.
struct KeyScales {
  bool has_nan;  // or infinity: only then scores may be not-a-number
  // All groups of a position have one scale, of so few bits that the sum of their products times it
  // is the same number as the sum of each times it (store_q8/generic.h).
  bool one_scale;
  alignas(64) float of[kKeyPanels * kMaxGroups][kKvPanel];
};

inline unsigned not_zero(__m512i v) {
  const __m512i zero = _mm512_setzero_si512();
  return _mm512_cmpgt_epi32_mask(v, zero) | _mm512_cmpgt_epi32_mask(zero, v);
}

// Of positions [p0, p0 + n).
inline void load_scales(const AttentionArgs& args, std::int64_t p0, int n, KeyScales& out) {
  const std::int64_t panel_bytes = kv_panel_bytes(args.head_dim);
  const auto n_groups = static_cast<int>(args.head_dim / kColumnGroup);
  const std::byte* panel = args.k + p0 / kKvPanel * panel_bytes;
  const int n_bits = spec::key_scale_bits(args.head_dim);  // 0: no scale is short enough
  const __m512i behind =
      _mm512_set1_epi32(n_bits == 0 ? -1 : static_cast<int>(spec::bits_behind(n_bits)));
  unsigned nans = 0, others = 0;
  for (int p = 0; p * kKvPanel < n; ++p, panel += panel_bytes) {
    const __m512i first = _mm512_castps_si512(load_halves(panel + key_scales_offset(0)));
    for (int g = 0; g < n_groups; ++g) {
      const __m512 of_positions = load_halves(panel + key_scales_offset(g));
      const __m512 zero_or_nan = _mm512_sub_ps(of_positions, of_positions);
      nans |= _mm512_cmp_ps_mask(zero_or_nan, zero_or_nan, _CMP_UNORD_Q);
      const __m512i bits = _mm512_castps_si512(of_positions);
      const __m512i wrong =
          _mm512_or_si512(_mm512_sub_epi32(bits, first), _mm512_and_si512(bits, behind));
      others |= below(kKvPanel * p, n) & not_zero(wrong);
      _mm512_storeu_ps(out.of[p * n_groups + g], of_positions);
    }
  }
  out.has_nan = nans != 0;
  out.one_scale = (nans | others) == 0;
}

inline void load_scales(const AttentionArgs& args, std::int64_t p0, int n, TileValueScales& out) {
  out.load<Avx512Attention>(args, p0, n);
}

// Asks for a line that is to be in the second-level cache when it is read.
inline void ask_for(const std::byte* line) {
  _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1);
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
  std::int32_t sums_of_codes[kRows][kMaxGroups + 1];  // group by group, and of all
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
    std::int32_t(&sums)[kMaxGroups + 1] = sums_of_codes[n];
    sums[kMaxGroups] = 0;
    for (int g = 0; g < args.head_dim / kColumnGroup; ++g, q += kColumnGroup) {
      alignas(kColumnGroup) std::int8_t of_group[kColumnGroup] = {};
      if (scale.finite) {
        for (int i = 0; i < kColumnGroup; ++i) of_group[i] = spec::a8_code(q[i], scale.to_code);
      }
      std::int32_t sum = 0;
      for (std::int8_t code : of_group) sum += code;
      std::memcpy(codes[g / 2][n] + g % 2 * kColumnGroup, of_group, kColumnGroup);
      sums[g] = sum;
      sums[kMaxGroups] += sum;
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
  std::int64_t p0 = 0;  // where the tile begins
  int first = 0;        // the first row that sees anything of the tile
  int n_seen[kRows];    // positions that each row sees, not decreasing
  int n_panels = 0;     // that any row sees
  // From what is read of the tile to what is to be asked for meanwhile, in bytes; 0: nothing.
  std::int64_t ahead = 0;

  Step() = default;
  Step(Rows& of_rows, std::int64_t tile) : rows(&of_rows), p0(tile) {
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

// Weights of a step, what a byte is worth, and what the values of steps before shrink by.
struct Weights {
  alignas(64) std::uint8_t bytes[kMaxGroups][kRows][kTile];  // as WeightBytes has them
  float scale[kMaxGroups][kRows];
  alignas(64) float shrink[kRows];
  // Of two that follow each other, one is stored while the other is read. Lines that are a multiple
  // of 4096 bytes apart would be taken for the same then, and waited for.
  std::byte padding[1472];
};
static_assert(sizeof(Weights) % 4096 == 2048);

// Weights to be multiplied by values.
template <typename Values>
struct Mix {
  const Step& step;  // its rows may be null, and then there is nothing to do
  const Values& values;
  const Weights& weights;
  std::int64_t head_dim;
};

}  // namespace
}  // namespace attention_steps
}  // namespace cria

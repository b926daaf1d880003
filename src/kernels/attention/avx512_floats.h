// Half floats for many rows on 512-bit registers: 32 positions at a time become floats once, and
// four rows share each of their registers. Internal linkage throughout, as in panel/generic.h.
#pragma once

#include "kernels/attention/avx2.h"
#include "kernels/isa.h"
#include "kernels/panel/avx512.h"

namespace cria::avx512 {
namespace {

// Fewer rows do not pay for the floats.
inline constexpr int kFloatRows = 3;
// 8 KiB of floats for a head of 64: they stay in the first-level cache.
inline constexpr int kFloatPositions = 32;
inline constexpr int kRowsTogether = 4;

using FloatPositions = float[kFloatPositions * kMaxHeadDim];

// Eight floats in both halves.
inline __m512 load_twice(const float* at) { return _mm512_broadcast_f32x8(_mm256_loadu_ps(at)); }

// Eight columns of two positions.
inline __m512 load_two(const std::uint16_t* first, const std::uint16_t* second) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(second));
  return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
}

// Horizontal sums of neighbours, quarter by quarter: two of a, two of b.
inline __m512 add_neighbours(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}

// spec::sum_of_lanes of both halves of four registers: first all low halves.
inline __m256 sums_of_halves(const __m512* v) {
  const __m512 quarters = add_neighbours(add_neighbours(v[0], v[1]), add_neighbours(v[2], v[3]));
  const __m512 even = _mm512_shuffle_f32x4(quarters, quarters, 0x88);
  const __m512 odd = _mm512_shuffle_f32x4(quarters, quarters, 0xdd);
  return _mm512_castps512_ps256(_mm512_add_ps(even, odd));
}

// --- scores --------------------------------------------------------------------------------------

// Keys of positions [p, p + 32), eight columns of p + i and of p + i + 4 a register:
// [eights of positions][head_dim / 8][i: 0 .. 3][2][8]. Past the `n` first: the last again.
inline void load_keys(const AttentionArgs& args, std::int64_t p, int n, float* out) {
  const std::int64_t dim = args.head_dim;
  const auto* keys = reinterpret_cast<const std::uint16_t*>(args.k) + p * dim;
  for (int eight = 0; eight < n; eight += 8) {
    const std::uint16_t* at[8];
    for (int i = 0; i < 8; ++i) at[i] = keys + std::min(eight + i, n - 1) * dim;
    for (std::int64_t d = 0; d < dim; d += 8) {
      CRIA_UNROLL
      for (int i = 0; i < 4; ++i, out += 16) {
        _mm512_storeu_ps(out, load_two(at[i] + d, at[i + 4] + d));
      }
    }
  }
}

// scores[r][0 .. 8) of row r with eight keys.
template <int kRows>
inline void score_eight(const float* keys, const attention_block::Row* rows,
                        const AttentionArgs& args, float (*scores)[attention_block::kTile],
                        int first) {
  __m512 dot[kRows][4];
  CRIA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    CRIA_UNROLL
    for (int i = 0; i < 4; ++i) dot[r][i] = _mm512_setzero_ps();
  }
  for (std::int64_t d = 0; d < args.head_dim; d += 8, keys += 64) {
    __m512 query[kRows];
    CRIA_UNROLL
    for (int r = 0; r < kRows; ++r) query[r] = load_twice(rows[r].q + d);
    CRIA_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m512 key = _mm512_loadu_ps(keys + 16 * i);
      CRIA_UNROLL
      for (int r = 0; r < kRows; ++r) dot[r][i] = _mm512_fmadd_ps(query[r], key, dot[r][i]);
    }
  }
  const __m256 factor = _mm256_set1_ps(spec::score_factor(args));
  CRIA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    _mm256_storeu_ps(scores[r] + first, _mm256_mul_ps(sums_of_halves(dot[r]), factor));
  }
}

// Rows [r, r + kRows) times all the keys.
template <int kRows>
inline void score_rows(const float* keys, int n, int first, int r, attention_block::Block& block) {
  for (int eight = 0; eight < n; eight += 8, keys += 8 * block.args.head_dim) {
    score_eight<kRows>(keys, block.rows + r, block.args, block.scores + r, first + eight);
  }
}

inline void score_tile_floats(attention_block::Block& block, std::int64_t p0, int n) {
  alignas(64) FloatPositions keys;
  for (int first = 0; first < n; first += kFloatPositions) {
    const int m = std::min(kFloatPositions, n - first);
    load_keys(block.args, p0 + first, m, keys);
    int r = block.first_row(p0 + first);
    for (; r + kRowsTogether <= block.n_rows; r += kRowsTogether) {
      score_rows<kRowsTogether>(keys, m, first, r, block);
    }
    for (; r < block.n_rows; ++r) score_rows<1>(keys, m, first, r, block);
  }
}

// --- values --------------------------------------------------------------------------------------

// A part of a tile of values, as floats.
struct FloatValues {
  const float* values;
  int first;  // position in the tile
  int n;      // positions
};

// acc[r .. r + kRows)[d .. d + 16 * kVectors) += weights of positions [begin, end) of the part
// times their values.
template <int kRows, int kVectors>
inline void add_floats(const FloatValues& part, int begin, int end, std::int64_t d, int r,
                       attention_block::Block& block) {
  const std::int64_t dim = block.args.head_dim;
  const auto* weights = block.scores + r;
  attention_block::Row* rows = block.rows + r;
  __m512 acc[kRows][kVectors];
  CRIA_UNROLL
  for (int i = 0; i < kRows; ++i) {
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) acc[i][j] = _mm512_loadu_ps(rows[i].acc + d + 16 * j);
  }
  for (int p = begin; p < end; ++p) {
    const float* values = part.values + p * dim + d;
    __m512 value[kVectors];
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) value[j] = _mm512_loadu_ps(values + 16 * j);
    CRIA_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const __m512 weight = _mm512_set1_ps(weights[i][part.first + p]);
      CRIA_UNROLL
      for (int j = 0; j < kVectors; ++j) acc[i][j] = _mm512_fmadd_ps(weight, value[j], acc[i][j]);
    }
  }
  CRIA_UNROLL
  for (int i = 0; i < kRows; ++i) {
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) _mm512_storeu_ps(rows[i].acc + d + 16 * j, acc[i][j]);
  }
}

template <int kRows>
inline void add_row_floats(const FloatValues& part, int begin, int end, int r,
                           attention_block::Block& block) {
  const std::int64_t dim = block.args.head_dim;
  std::int64_t d = 0;
  for (; d + 64 <= dim; d += 64) add_floats<kRows, 4>(part, begin, end, d, r, block);
  for (; d + 16 <= dim; d += 16) add_floats<kRows, 1>(part, begin, end, d, r, block);
}

// Four rows go together as far as the first of them sees, then each by itself.
inline void add_part(const FloatValues& part, std::int64_t p0, attention_block::Block& block) {
  const auto seen = [&](int r) {
    return std::clamp(block.rows[r].n_in_tile(p0) - part.first, 0, part.n);
  };
  int r = block.first_row(p0 + part.first);
  for (; r + kRowsTogether <= block.n_rows; r += kRowsTogether) {
    const int together = seen(r);
    add_row_floats<kRowsTogether>(part, 0, together, r, block);
    for (int i = r + 1; i < r + kRowsTogether; ++i) {
      if (seen(i) > together) add_row_floats<1>(part, together, seen(i), i, block);
    }
  }
  for (; r < block.n_rows; ++r) add_row_floats<1>(part, 0, seen(r), r, block);
}

// For head_dim % 16 == 0.
inline void add_tile_floats(attention_block::Block& block, std::int64_t p0, int n) {
  const std::int64_t dim = block.args.head_dim;
  alignas(64) FloatPositions values;
  for (int first = 0; first < n; first += kFloatPositions) {
    const int m = std::min(kFloatPositions, n - first);
    const auto* halves = reinterpret_cast<const std::uint16_t*>(block.args.v) + (p0 + first) * dim;
    for (std::int64_t i = 0; i < m * dim; i += 16) {
      _mm512_storeu_ps(values + i, load_halves(halves + i));
    }
    add_part({values, first, m}, p0, block);
  }
}

}  // namespace
}  // namespace cria::avx512

// attention on 256-bit registers: what AVX2 and AVX-512 share. Internal linkage throughout, as in
// panel/generic.h.
#pragma once

#include <immintrin.h>

#include "kernels/activation/avx2.h"
#include "kernels/attention/block.h"
#include "kernels/panel/avx2.h"
#include "kernels/softmax/avx2.h"

namespace cria::avx2 {
namespace {

using attention_block::Block;
using attention_block::kTile;
using attention_block::Row;
using attention_block::TileValueScales;
using attention_block::TopScore;
using attention_block::ValueScales;

inline constexpr int kPositions = 4;     // scores computed together: 2 heads x 4 positions = 8 sums
inline constexpr int kValueVectors = 4;  // 32 columns of V: 2 heads x 4 vectors = 8 sums

inline __m256i iota() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

// All ones in the lanes i .. i + 7 that are below n.
inline __m256i below(int i, int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - i), iota()); }

// --- scores --------------------------------------------------------------------------------------

// scores[h][i] of q[h] . k[p0 + i] for i < n, for heads whose queries follow each other.
template <int kHeads>
inline void score_halves(const AttentionArgs& args, const float* q, std::int64_t p0, int n,
                         float (*scores)[kTile]) {
  const std::int64_t dim = args.head_dim;
  const auto* keys = reinterpret_cast<const std::uint16_t*>(args.k);
  const __m128 factor = _mm_set1_ps(spec::score_factor(args));
  for (int i = 0; i < n; i += kPositions) {
    const std::uint16_t* k[kPositions];
    CRIA_UNROLL
    for (int p = 0; p < kPositions; ++p) {  // past the end: the last position again, not used
      k[p] = keys + (p0 + (i + p < n ? i + p : n - 1)) * dim;
    }
    __m256 dot[kHeads][kPositions];
    for (auto& head : dot) {
      for (__m256& sum : head) sum = _mm256_setzero_ps();
    }
    for (std::int64_t d = 0; d < dim; d += 8) {
      __m256 key[kPositions];
      CRIA_UNROLL
      for (int p = 0; p < kPositions; ++p) key[p] = load_halves(k[p] + d);
      CRIA_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        const __m256 query = _mm256_loadu_ps(q + h * dim + d);
        CRIA_UNROLL
        for (int p = 0; p < kPositions; ++p) dot[h][p] = _mm256_fmadd_ps(query, key[p], dot[h][p]);
      }
    }
    CRIA_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      const __m128 sums = sums_of_lanes(dot[h][0], dot[h][1], dot[h][2], dot[h][3]);
      _mm_storeu_ps(scores[h] + i, _mm_mul_ps(sums, factor));
    }
  }
}

// --- values as half floats -----------------------------------------------------------------------

// acc[h][d .. d + 8 * kVectors) += sum over i < n of weights[h][i] * v[p0 + i].
template <int kHeads, int kVectors>
inline void add_halves(const AttentionArgs& args, const float (*weights)[kTile], std::int64_t p0,
                       int n, std::int64_t d, Row* rows) {
  __m256 acc[kHeads][kVectors];
  CRIA_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) acc[h][j] = _mm256_load_ps(rows[h].acc + d + 8 * j);
  }
  const auto* v = reinterpret_cast<const std::uint16_t*>(args.v) + p0 * args.head_dim + d;
  for (int i = 0; i < n; ++i, v += args.head_dim) {
    __m256 p[kHeads];
    CRIA_UNROLL
    for (int h = 0; h < kHeads; ++h) p[h] = _mm256_broadcast_ss(weights[h] + i);
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      const __m256 value = load_halves(v + 8 * j);
      CRIA_UNROLL
      for (int h = 0; h < kHeads; ++h) acc[h][j] = _mm256_fmadd_ps(p[h], value, acc[h][j]);
    }
  }
  CRIA_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    CRIA_UNROLL
    for (int j = 0; j < kVectors; ++j) _mm256_store_ps(rows[h].acc + d + 8 * j, acc[h][j]);
  }
}

template <int kHeads>
inline void add_row_halves(Block& block, int r, std::int64_t p0) {
  const std::int64_t dim = block.args.head_dim;
  const int n = block.rows[r].n_in_tile(p0);
  std::int64_t d = 0;
  for (; d + 8 * kValueVectors <= dim; d += 8 * kValueVectors) {
    add_halves<kHeads, kValueVectors>(block.args, block.scores + r, p0, n, d, &block.rows[r]);
  }
  for (; d < dim; d += 8) {
    add_halves<kHeads, 1>(block.args, block.scores + r, p0, n, d, &block.rows[r]);
  }
}

// --- values as int8 ------------------------------------------------------------------------------

inline void load_value_scales(const AttentionArgs& args, std::int64_t p0, int n,
                              ValueScales& scales) {
  const std::int64_t dim = args.head_dim, panel_bytes = kv_panel_bytes(dim);
  const std::byte* panel = args.v + p0 / kKvPanel * panel_bytes + value_scales_offset(dim, 0);
  for (int first = 0; first < n; first += kKvPanel, panel += panel_bytes) {
    const auto* halves = reinterpret_cast<const std::uint16_t*>(panel);
    for (std::int64_t b = 0; b < dim / kColumnGroup; ++b) {
      for (int i = 0; i < kKvPanel; i += 8) {
        _mm256_store_ps(scales[b].of_positions + first + i, load_halves(halves + b * kKvPanel + i));
      }
    }
  }
  for (std::int64_t b = 0; b < dim / kColumnGroup; ++b) scales[b].begin();
}

// spec::byte_factor of the largest of some codes, as an integer. There is an instruction for the
// smallest of eight words: that of their complements.
inline __m128i byte_factor(__m256i codes) {
  const __m128i eight =
      _mm_max_epi16(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
  const __m128i smallest = _mm_minpos_epu16(_mm_xor_si128(eight, _mm_set1_epi32(-1)));
  const __m128i largest = _mm_andnot_si128(smallest, _mm_cvtsi32_si128(0xffff));
  const __m128 ratio = _mm_div_ss(_mm_set_ss(spec::kByteFactorOfOne), _mm_cvtepi32_ps(largest));
  return _mm_cvttps_epi32(_mm_min_ss(ratio, _mm_set_ss(spec::kByteFactorMax)));
}

// Lanes of 32 bits that are 0 to 65535 -> words, in order.
inline __m256i words_of(__m256i a, __m256i b) {
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
}

// The part of a Form that does not depend on how int8 is multiplied.
struct HalfAttention {
  template <int kHeads>
  static void score_halves(const AttentionArgs& args, const float* q, std::int64_t p0, int n,
                           float (*scores)[kTile]) {
    avx2::score_halves<kHeads>(args, q, p0, n, scores);
  }

  template <int kHeads>
  static void add_row_halves(Block& block, int r, std::int64_t p0) {
    avx2::add_row_halves<kHeads>(block, r, p0);
  }
};

}  // namespace
}  // namespace cria::avx2

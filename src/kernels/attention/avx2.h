// attention on 256-bit registers: what AVX2 and AVX-512 share. Internal linkage throughout, as in
// panel/generic.h.
//
// Rows (a token and a query head) go through the cache together, up to 32 at a time, tile by tile,
// so that a tile is read from memory once. Half floats are converted for two heads at a time. A
// tile of int8 keys is a linear over its panels. What is left to the instruction set: Form, below.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/activation/avx2.h"
#include "kernels/attention/generic.h"
#include "kernels/isa.h"
#include "kernels/panel/avx2.h"
#include "kernels/softmax/avx2.h"

namespace cria::avx2 {
namespace {

inline constexpr int kTile = spec::kAttentionTile;
inline constexpr int kMaxRows = kA8TileTokens;
inline constexpr int kPositions = 4;     // scores computed together: 2 heads x 4 positions = 8 sums
inline constexpr int kValueVectors = 4;  // 32 columns of V: 2 heads x 4 vectors = 8 sums

// One token and query head, and its running state as spec::AttentionState.
struct Row {
  const float* q;
  float* out;
  std::int64_t n_positions;  // that it sees
  float top;
  __m256 sum;
  alignas(64) float acc[kMaxHeadDim];

  // Positions of the tile at p0 that it sees.
  int n_in_tile(std::int64_t p0) const {
    return static_cast<int>(std::clamp<std::int64_t>(n_positions - p0, 0, kTile));
  }
};

// Consecutive rows of a call, and what they share.
struct Block {
  const AttentionArgs& args;
  int n_rows;
  Row rows[kMaxRows];
  float scores[kMaxRows][kTile];  // of the tile at hand; then weights
  // The queries as int8, when the keys are.
  std::int8_t codes[kMaxRows * kMaxHeadDim];
  A8Block blocks[kMaxRows * kMaxHeadDim / kColumnGroup];
};

inline __m256i iota() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

// All ones in the lanes i .. i + 7 that are below n.
inline __m256i below(int i, int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - i), iota()); }

// --- scores --------------------------------------------------------------------------------------

// scores[h][i] = scale * q[h] . k[p0 + i] for i < n, for heads whose queries follow each other.
template <int kHeads>
inline void score_halves(const AttentionArgs& args, const float* q, std::int64_t p0, int n,
                         float (*scores)[kTile]) {
  const std::int64_t dim = args.head_dim;
  const auto* keys = reinterpret_cast<const std::uint16_t*>(args.k);
  const __m128 scale = _mm_set1_ps(args.scale);
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
      _mm_storeu_ps(scores[h] + i, _mm_mul_ps(sums, scale));
    }
  }
}

// Whether row r and the next are heads of one token: then they see the same positions.
inline bool is_pair(const Block& block, int r) {
  return r + 1 < block.n_rows && block.rows[r].n_positions == block.rows[r + 1].n_positions &&
         block.rows[r].q + block.args.head_dim == block.rows[r + 1].q;
}

inline void score_tile_f16(Block& block, std::int64_t p0) {
  for (int r = 0; r < block.n_rows;) {
    const int n = block.rows[r].n_in_tile(p0);
    if (is_pair(block, r)) {
      score_halves<2>(block.args, block.rows[r].q, p0, n, block.scores + r);
      r += 2;
    } else {
      score_halves<1>(block.args, block.rows[r].q, p0, n, block.scores + r);
      ++r;
    }
  }
}

inline void quantize_queries(Block& block) {
  const std::int64_t dim = block.args.head_dim;
  for (int r = 0; r < block.n_rows; ++r) {
    quantize_a8_avx2({block.rows[r].q, 0, block.n_rows, r, 1, dim, block.codes, block.blocks});
  }
}

// All rows with all panels that any of them sees: what a row does not see is masked later.
template <typename Form>
inline void score_tile_q8(Block& block, std::int64_t p0, int n) {
  const AttentionArgs& args = block.args;
  Form::linear_a8({.encoding = Encoding::kQ8,
                   .panels = args.k + p0 / kKvPanel * kv_panel_bytes(args.head_dim),
                   .n_rows = (n + kKvPanel - 1) / kKvPanel * kKvPanel,
                   .n_cols = args.head_dim,
                   .codes = block.codes,
                   .blocks = block.blocks,
                   .n_tokens = block.n_rows,
                   .out = block.scores[0],
                   .out_stride = kTile,
                   .accumulate = false});
  const __m256 scale = _mm256_set1_ps(args.scale);
  for (int r = 0; r < block.n_rows; ++r) {
    for (int i = 0; i < n; i += 8) {
      float* at = block.scores[r] + i;
      _mm256_storeu_ps(at, _mm256_mul_ps(_mm256_loadu_ps(at), scale));
    }
  }
}

// The running maximum, raised to that of a tile; returns what earlier sums shrink by.
inline float raise_top(float tile_top, Row& row) {
  const float top = tile_top > row.top ? tile_top : row.top;
  const float shrink = spec::exp(row.top - top);
  row.top = top;
  return shrink;
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

inline void add_values_f16(Block& block, std::int64_t p0) {
  for (int r = 0; r < block.n_rows;) {
    if (is_pair(block, r)) {
      add_row_halves<2>(block, r, p0);
      r += 2;
    } else {
      add_row_halves<1>(block, r, p0);
      ++r;
    }
  }
}

// --- values as int8 ------------------------------------------------------------------------------

// Scales of a tile of values.
using ValueScales = float[kMaxHeadDim / kColumnGroup][kTile];

inline void load_value_scales(const AttentionArgs& args, std::int64_t p0, int n,
                              ValueScales& scales) {
  const std::int64_t dim = args.head_dim, panel_bytes = kv_panel_bytes(dim);
  const std::byte* panel = args.v + p0 / kKvPanel * panel_bytes + kv_panel_scales(dim);
  for (int first = 0; first < n; first += kKvPanel, panel += panel_bytes) {
    const auto* halves = reinterpret_cast<const std::uint16_t*>(panel);
    for (std::int64_t b = 0; b < dim / kColumnGroup; ++b) {
      for (int i = 0; i < kKvPanel; i += 8) {
        _mm256_store_ps(scales[b] + first + i, load_halves(halves + b * kKvPanel + i));
      }
    }
  }
}

// --- a block of rows -----------------------------------------------------------------------------

// Rows that see nothing of a tile (later positions of the call) take part with weights of zero,
// which change nothing.
template <typename Form>
inline void attend_tile(Block& block, std::int64_t p0) {
  const AttentionArgs& args = block.args;
  const int n = block.rows[block.n_rows - 1].n_in_tile(p0);
  if (args.k_type == KvType::kQ8) {
    score_tile_q8<Form>(block, p0, n);
  } else {
    score_tile_f16(block, p0);
  }
  for (int r = 0; r < block.n_rows; ++r) {
    Row& row = block.rows[r];
    const int n_seen = row.n_in_tile(p0);
    if (n_seen > 0) Form::weigh_tile(block.scores[r], n_seen, args.head_dim, row);
  }
  if (args.v_type == KvType::kQ8) {
    Form::add_values_q8(block, p0, n);
  } else {
    add_values_f16(block, p0);
  }
}

template <typename Form>
inline void attend(Block& block) {
  const std::int64_t dim = block.args.head_dim;
  for (int r = 0; r < block.n_rows; ++r) {
    Row& row = block.rows[r];
    row.top = -std::numeric_limits<float>::infinity();
    row.sum = _mm256_setzero_ps();
    for (std::int64_t d = 0; d < dim; ++d) row.acc[d] = 0.0f;
  }
  if (block.args.k_type == KvType::kQ8) quantize_queries(block);
  const std::int64_t n_positions = block.rows[block.n_rows - 1].n_positions;
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kTile) attend_tile<Form>(block, p0);
  for (int r = 0; r < block.n_rows; ++r) {
    const Row& row = block.rows[r];
    float lanes[8];
    _mm256_storeu_ps(lanes, row.sum);
    const __m256 inverse = _mm256_set1_ps(1.0f / spec::sum_of_lanes(lanes));
    for (std::int64_t d = 0; d < dim; d += 8) {
      _mm256_storeu_ps(row.out + d, _mm256_mul_ps(_mm256_load_ps(row.acc + d), inverse));
    }
  }
}

// Form is how an instruction set does what it has its own instructions for (`static` members):
//   linear_a8(args)                       the op
//   weigh_tile(scores, n, head_dim, row)  scores -> weights, in place, those past n zero; shrinks
//                                         what was summed before
//   add_values_q8(block, p0, n)           acc of all rows += weights times int8 values, of the n
//                                         positions of the tile that any row sees
template <typename Form>
inline void attention(const AttentionArgs& args) {
  if (args.head_dim % 8 != 0) return spec::attention(args);  // no such model is known
  Block block = {args, 0};
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    for (std::int64_t h = 0; h < args.n_heads; ++h) {
      Row& row = block.rows[block.n_rows++];
      row.q = args.q + t * args.q_stride + h * args.head_dim;
      row.out = args.out + t * args.out_stride + h * args.head_dim;
      row.n_positions = args.first_position + t + 1;
      if (block.n_rows == kMaxRows) {
        attend<Form>(block);
        block.n_rows = 0;
      }
    }
  }
  if (block.n_rows > 0) attend<Form>(block);
}

}  // namespace
}  // namespace cria::avx2

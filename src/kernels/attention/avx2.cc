// attention with AVX2: up to two query heads at a time, so that a half float of the cache is
// converted once for both.
#include "kernels/activation/avx2.h"

#include <immintrin.h>

#include "kernels/attention/generic.h"
#include "kernels/isa.h"
#include "kernels/softmax/avx2.h"

namespace cria {
namespace avx2 {
namespace {

constexpr int kTile = spec::kAttentionTile;
constexpr int kPositions = 4;     // scores computed together: 2 heads x 4 positions = 8 sums
constexpr int kValueVectors = 4;  // 32 columns of V: 2 heads x 4 vectors = 8 sums

// The running state of one query head, as spec::AttentionState.
struct HeadState {
  float top;
  __m256 sum;
  alignas(32) float acc[kMaxHeadDim];
};

inline __m256 load_halves(const std::uint16_t* at) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

// scores[h][i] = scale * q[h] . k[p0 + i] for i < n; the rest of the tile becomes -infinity.
template <int kHeads>
inline void score_tile(const AttentionArgs& args, const float* q, std::int64_t p0, int n,
                       float (*scores)[kTile]) {
  const std::int64_t dim = args.head_dim;
  const __m128 scale = _mm_set1_ps(args.scale);
  for (int i = 0; i < n; i += kPositions) {
    const std::uint16_t* k[kPositions];
    for (int p = 0; p < kPositions; ++p) {  // past the end: the last position again, not used
      k[p] = args.k + (p0 + (i + p < n ? i + p : n - 1)) * dim;
    }
    __m256 dot[kHeads][kPositions];
    for (auto& head : dot) {
      for (__m256& sum : head) sum = _mm256_setzero_ps();
    }
    for (std::int64_t d = 0; d < dim; d += 8) {
      __m256 key[kPositions];
      for (int p = 0; p < kPositions; ++p) key[p] = load_halves(k[p] + d);
      for (int h = 0; h < kHeads; ++h) {
        const __m256 query = _mm256_loadu_ps(q + h * dim + d);
        for (int p = 0; p < kPositions; ++p) dot[h][p] = _mm256_fmadd_ps(query, key[p], dot[h][p]);
      }
    }
    for (int h = 0; h < kHeads; ++h) {
      const __m128 sums = sums_of_lanes(dot[h][0], dot[h][1], dot[h][2], dot[h][3]);
      _mm_storeu_ps(scores[h] + i, _mm_mul_ps(sums, scale));
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int i = n; i < kTile; ++i) scores[h][i] = -std::numeric_limits<float>::infinity();
  }
}

// Scores -> weights, in place; shrinks what was summed before. Positions past n get weight 0.
inline void weigh_tile(float* scores, std::int64_t dim, HeadState& state) {
  const float tile_top = max_of(scores, kTile);
  const float top = tile_top > state.top ? tile_top : state.top;
  const float shrink = spec::exp(state.top - top);
  state.top = top;
  const __m256 shrink_8 = _mm256_set1_ps(shrink);
  const __m256 top_8 = _mm256_set1_ps(top);
  state.sum = _mm256_mul_ps(state.sum, shrink_8);
  for (std::int64_t d = 0; d < dim; d += 8) {
    _mm256_store_ps(state.acc + d, _mm256_mul_ps(_mm256_load_ps(state.acc + d), shrink_8));
  }
  for (int i = 0; i < kTile; i += 8) {
    const __m256 p = exp(_mm256_sub_ps(_mm256_loadu_ps(scores + i), top_8));
    _mm256_storeu_ps(scores + i, p);
    state.sum = _mm256_add_ps(state.sum, p);
  }
}

// acc[h][d .. d + 8 * kVectors) += sum over i < n of weights[h][i] * v[p0 + i].
template <int kHeads, int kVectors>
inline void add_values(const AttentionArgs& args, const float (*weights)[kTile], std::int64_t p0,
                       int n, std::int64_t d, HeadState* states) {
  __m256 acc[kHeads][kVectors];
  for (int h = 0; h < kHeads; ++h) {
    for (int j = 0; j < kVectors; ++j) acc[h][j] = _mm256_load_ps(states[h].acc + d + 8 * j);
  }
  const std::uint16_t* v = args.v + p0 * args.head_dim + d;
  for (int i = 0; i < n; ++i, v += args.head_dim) {
    __m256 p[kHeads];
    for (int h = 0; h < kHeads; ++h) p[h] = _mm256_broadcast_ss(weights[h] + i);
    for (int j = 0; j < kVectors; ++j) {
      const __m256 value = load_halves(v + 8 * j);
      for (int h = 0; h < kHeads; ++h) acc[h][j] = _mm256_fmadd_ps(p[h], value, acc[h][j]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int j = 0; j < kVectors; ++j) _mm256_store_ps(states[h].acc + d + 8 * j, acc[h][j]);
  }
}

// kHeads query heads of one token. q and out point at the first of them.
template <int kHeads>
void attend(const AttentionArgs& args, const float* q, std::int64_t n_positions, float* out) {
  const std::int64_t dim = args.head_dim;
  HeadState states[kHeads];
  for (HeadState& state : states) {
    state.top = -std::numeric_limits<float>::infinity();
    state.sum = _mm256_setzero_ps();
    for (std::int64_t d = 0; d < dim; ++d) state.acc[d] = 0.0f;
  }
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kTile) {
    const int n = n_positions - p0 < kTile ? static_cast<int>(n_positions - p0) : kTile;
    float scores[kHeads][kTile];
    score_tile<kHeads>(args, q, p0, n, scores);
    for (int h = 0; h < kHeads; ++h) weigh_tile(scores[h], dim, states[h]);
    std::int64_t d = 0;
    for (; d + 8 * kValueVectors <= dim; d += 8 * kValueVectors) {
      add_values<kHeads, kValueVectors>(args, scores, p0, n, d, states);
    }
    for (; d < dim; d += 8) add_values<kHeads, 1>(args, scores, p0, n, d, states);
  }
  for (int h = 0; h < kHeads; ++h) {
    float lanes[8];
    _mm256_storeu_ps(lanes, states[h].sum);
    const __m256 inverse = _mm256_set1_ps(1.0f / spec::sum_of_lanes(lanes));
    for (std::int64_t d = 0; d < dim; d += 8) {
      _mm256_storeu_ps(out + h * dim + d,
                       _mm256_mul_ps(_mm256_load_ps(states[h].acc + d), inverse));
    }
  }
}

}  // namespace
}  // namespace avx2

void attention_avx2(const AttentionArgs& args) {
  if (args.head_dim % 8 != 0) return spec::attention(args);  // no such model is known
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const std::int64_t n_positions = args.first_position + t + 1;
    const float* q = args.q + t * args.q_stride;
    float* out = args.out + t * args.out_stride;
    std::int64_t h = 0;
    for (; h + 2 <= args.n_heads; h += 2) {
      avx2::attend<2>(args, q + h * args.head_dim, n_positions, out + h * args.head_dim);
    }
    if (h < args.n_heads) {
      avx2::attend<1>(args, q + h * args.head_dim, n_positions, out + h * args.head_dim);
    }
  }
}

}  // namespace cria

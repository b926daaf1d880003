// Reductions over eight lanes in the order of softmax/generic.h.
#pragma once

#include <immintrin.h>

#include <limits>

#include "kernels/softmax/generic.h"

namespace cria::avx2 {
namespace {

// spec::sum_of_lanes of each argument, in the four elements of the result.
inline __m128 sums_of_lanes(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 quarters = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1));
}

inline float max_of_lanes(__m256 v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  m = _mm_max_ss(m, _mm_shuffle_ps(m, m, 1));
  return _mm_cvtss_f32(m);
}

inline int sum_of_ints(__m256i v) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  sum = _mm_add_epi32(sum, _mm_unpackhi_epi64(sum, sum));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 1)));
}

// spec::max_of. The operand order of vmaxps passes over not-a-number in x.
inline float max_of(const float* x, std::int64_t n) {
  float max = -std::numeric_limits<float>::infinity();
  std::int64_t i = 0;
  if (n >= 8) {
    __m256 lanes = _mm256_set1_ps(max);
    for (; i + 8 <= n; i += 8) lanes = _mm256_max_ps(_mm256_loadu_ps(x + i), lanes);
    max = max_of_lanes(lanes);
  }
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

}  // namespace
}  // namespace cria::avx2

// rope with AVX2.
#include <immintrin.h>

#include "kernels/isa.h"
#include "kernels/rope/generic.h"

namespace cria {
namespace avx2 {
namespace {

inline void rope_head(float* head, std::int64_t half, const float* cos, const float* sin) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  std::int64_t i = 0;
  for (; i + 8 <= half; i += 8) {
    const __m256 c = _mm256_loadu_ps(cos + i);
    const __m256 s = _mm256_loadu_ps(sin + i);
    const __m256 a = _mm256_loadu_ps(head + i);
    const __m256 b = _mm256_loadu_ps(head + half + i);
    const __m256 minus_bs = _mm256_xor_ps(_mm256_mul_ps(b, s), sign);
    _mm256_storeu_ps(head + i, _mm256_fmadd_ps(a, c, minus_bs));
    _mm256_storeu_ps(head + half + i, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
  }
  spec::rope_head(head, i, half, cos, sin);
}

}  // namespace
}  // namespace avx2

void rope_avx2(const RopeArgs& args) {
  const std::int64_t half = args.head_dim / 2;
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    for (std::int64_t h = 0; h < args.n_heads; ++h) {
      avx2::rope_head(args.x + t * args.x_stride + h * args.head_dim, half, args.cos + t * half,
                      args.sin + t * half);
    }
  }
}

}  // namespace cria

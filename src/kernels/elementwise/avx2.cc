// add and mul with AVX2.
#include <immintrin.h>

#include "kernels/isa.h"

namespace cria {

void add_avx2(const BinaryArgs& args) {
  std::int64_t i = 0;
  for (; i + 8 <= args.n; i += 8) {
    const __m256 sum = _mm256_add_ps(_mm256_loadu_ps(args.x + i), _mm256_loadu_ps(args.y + i));
    _mm256_storeu_ps(args.out + i, sum);
  }
  for (; i < args.n; ++i) args.out[i] = args.x[i] + args.y[i];
}

void mul_avx2(const BinaryArgs& args) {
  std::int64_t i = 0;
  for (; i + 8 <= args.n; i += 8) {
    const __m256 product = _mm256_mul_ps(_mm256_loadu_ps(args.x + i), _mm256_loadu_ps(args.y + i));
    _mm256_storeu_ps(args.out + i, product);
  }
  for (; i < args.n; ++i) args.out[i] = args.x[i] * args.y[i];
}

}  // namespace cria

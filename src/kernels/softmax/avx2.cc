// softmax with AVX2.
#include "kernels/softmax/avx2.h"

#include "kernels/activation/avx2.h"
#include "kernels/isa.h"

namespace cria {

void softmax_avx2(const UnaryArgs& args) {
  const float max = avx2::max_of(args.x, args.n);
  const __m256 max_8 = _mm256_set1_ps(max);
  __m256 sum_8 = _mm256_setzero_ps();
  std::int64_t i = 0;
  for (; i + 8 <= args.n; i += 8) {
    const __m256 e = avx2::exp(_mm256_sub_ps(_mm256_loadu_ps(args.x + i), max_8));
    _mm256_storeu_ps(args.out + i, e);
    sum_8 = _mm256_add_ps(sum_8, e);
  }
  float lanes[8];
  _mm256_storeu_ps(lanes, sum_8);
  for (; i < args.n; ++i) {
    args.out[i] = spec::exp(args.x[i] - max);
    lanes[i % 8] += args.out[i];
  }
  const float sum = spec::sum_of_lanes(lanes);
  const __m256 divisor = _mm256_set1_ps(sum);
  for (i = 0; i + 8 <= args.n; i += 8) {
    _mm256_storeu_ps(args.out + i, _mm256_div_ps(_mm256_loadu_ps(args.out + i), divisor));
  }
  for (; i < args.n; ++i) args.out[i] = args.out[i] / sum;
}

}  // namespace cria

// rms_norm with AVX2.
#include <immintrin.h>

#include "kernels/isa.h"
#include "kernels/rms_norm/generic.h"

namespace cria {
namespace avx2 {
namespace {

inline double sum_of_squares(const float* x, std::int64_t n) {
  __m256d sums[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int half = 0; half < 2; ++half) {
      const __m256d v = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * half));
      sums[half] = _mm256_fmadd_pd(v, v, sums[half]);  // the square is exact: fused or not is equal
    }
  }
  double lanes[8];
  _mm256_storeu_pd(lanes, sums[0]);
  _mm256_storeu_pd(lanes + 4, sums[1]);
  for (; i < n; ++i) lanes[i % 8] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return spec::sum_of_lanes(lanes);
}

}  // namespace
}  // namespace avx2

void rms_norm_avx2(const RmsNormArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const float* x = args.x + t * args.x_stride;
    float* out = args.out + t * args.out_stride;
    const float scale =
        spec::rms_scale(avx2::sum_of_squares(x, args.n_cols), args.n_cols, args.epsilon);
    const __m256 scale_8 = _mm256_set1_ps(scale);
    std::int64_t i = 0;
    for (; i + 8 <= args.n_cols; i += 8) {
      const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + i), scale_8);
      _mm256_storeu_ps(out + i, _mm256_mul_ps(scaled, _mm256_loadu_ps(args.weight + i)));
    }
    for (; i < args.n_cols; ++i) out[i] = (x[i] * scale) * args.weight[i];
  }
}

}  // namespace cria

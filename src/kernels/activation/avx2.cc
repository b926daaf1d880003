// silu and swiglu with AVX2.
#include "kernels/activation/avx2.h"

#include "kernels/isa.h"

namespace cria {

void silu_avx2(const UnaryArgs& args) {
  std::int64_t i = 0;
  for (; i + 8 <= args.n; i += 8) {
    _mm256_storeu_ps(args.out + i, avx2::silu(_mm256_loadu_ps(args.x + i)));
  }
  for (; i < args.n; ++i) args.out[i] = spec::silu_of(args.x[i]);
}

void swiglu_avx2(const SwiGluArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const float* gate = args.gate + t * args.in_stride;
    const float* up = args.up + t * args.in_stride;
    float* out = args.out + t * args.out_stride;
    std::int64_t i = 0;
    for (; i + 8 <= args.width; i += 8) {
      const __m256 activated = avx2::silu(_mm256_loadu_ps(gate + i));
      _mm256_storeu_ps(out + i, _mm256_mul_ps(activated, _mm256_loadu_ps(up + i)));
    }
    for (; i < args.width; ++i) out[i] = spec::silu_of(gate[i]) * up[i];
  }
}

}  // namespace cria

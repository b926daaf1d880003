// store_f16 with F16C.
#include <immintrin.h>

#include "kernels/isa.h"
#include "tensor/float16.h"

namespace cria {

void store_f16_avx2(const StoreF16Args& args) {
  std::int64_t i = 0;
  for (; i + 8 <= args.n; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(args.x + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(args.out + i), halves);
  }
  for (; i < args.n; ++i) args.out[i] = f32_to_f16(args.x[i]);
}

}  // namespace cria

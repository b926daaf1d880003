#include <immintrin.h>

#include "quantize/second_moments.h"

namespace cria {

// Four rows at a time: eight sums of four columns fill the registers as far as they go.
void product_tile_avx2(const double* a, const double* b, std::int64_t n_tokens, double* out) {
  for (int i0 = 0; i0 < kPanelColumns; i0 += 4) {
    __m256d low[4], high[4];
    for (int i = 0; i < 4; ++i) low[i] = high[i] = _mm256_setzero_pd();
    for (std::int64_t t = 0; t < n_tokens; ++t) {
      const __m256d left = _mm256_load_pd(b + t * kPanelColumns);
      const __m256d right = _mm256_load_pd(b + t * kPanelColumns + 4);
      for (int i = 0; i < 4; ++i) {
        const __m256d x = _mm256_broadcast_sd(a + t * kPanelColumns + i0 + i);
        low[i] = _mm256_fmadd_pd(x, left, low[i]);
        high[i] = _mm256_fmadd_pd(x, right, high[i]);
      }
    }
    for (int i = 0; i < 4; ++i) {
      _mm256_storeu_pd(out + (i0 + i) * kPanelColumns, low[i]);
      _mm256_storeu_pd(out + (i0 + i) * kPanelColumns + 4, high[i]);
    }
  }
}

}  // namespace cria

#include <immintrin.h>

#include "quantize/second_moments.h"

namespace cria {

// Eight sums of eight columns: as many as hide the latency of two multiply-adds a cycle.
void product_tile_avx512(const double* a, const double* b, std::int64_t n_tokens, double* out) {
  __m512d sums[kPanelColumns];
  for (int i = 0; i < kPanelColumns; ++i) sums[i] = _mm512_setzero_pd();
  for (std::int64_t t = 0; t < n_tokens; ++t, a += kPanelColumns, b += kPanelColumns) {
    const __m512d row = _mm512_load_pd(b);
    for (int i = 0; i < kPanelColumns; ++i) {
      sums[i] = _mm512_fmadd_pd(_mm512_set1_pd(a[i]), row, sums[i]);
    }
  }
  for (int i = 0; i < kPanelColumns; ++i) _mm512_storeu_pd(out + i * kPanelColumns, sums[i]);
}

}  // namespace cria

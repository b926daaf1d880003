// 2^x on sixteen floats that are at most 0: what activation/exp2.h gives, in fewer operations. All
// of them but the polynomial are exact: a fraction by vreduceps, a product with a power of two.
#pragma once

#include "kernels/activation/exp2.h"
#include "kernels/panel/avx512.h"

namespace cria::avx512 {
namespace {

// Keeps a constant in its register: GCC would read it from memory wherever it is used.
inline void keep([[maybe_unused]] __m512& v) {
#if !defined(CRIA_EMULATE_AVX512)
  asm("" : "+v"(v));
#endif
}

class Exp2OfNegative {
 public:
  Exp2OfNegative() {
    CRIA_UNROLL
    for (int i = 0; i < 5; ++i) {
      polynomial_[i] = _mm512_set1_ps(spec::kExp2Polynomial[i]);
      keep(polynomial_[i]);
    }
    lowest_ = _mm512_set1_ps(spec::kExp2Lowest);
    keep(lowest_);
  }

  // Of x that is at most 0 or not-a-number.
  __m512 operator()(__m512 x) const {
    constexpr int kNearest = 8;  // to nearest even, no exceptions
    const __mmask16 is_seen = _mm512_cmp_ps_mask(x, lowest_, _CMP_NLT_UQ);
    const __m512 r = _mm512_reduce_ps(x, kNearest);
    __m512 p = polynomial_[0];
    CRIA_UNROLL
    for (int i = 1; i < 5; ++i) p = _mm512_fmadd_ps(p, r, polynomial_[i]);
    return _mm512_maskz_scalef_ps(is_seen, p, _mm512_sub_ps(x, r));
  }

 private:
  __m512 polynomial_[5], lowest_;
};

}  // namespace
}  // namespace cria::avx512

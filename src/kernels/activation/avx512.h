// 2^x on sixteen floats that are at most 0: what activation/exp2.h gives, in fewer operations. All
// of them but the polynomial are exact: a fraction by vreduceps, a product with a power of two.
// And on 32 words, as activation/exp2_words.h.
#pragma once

#include "kernels/activation/exp2.h"
#include "kernels/activation/exp2_words.h"
#include "kernels/panel/avx512.h"

namespace cria::avx512 {
namespace {

// Keeps a constant in its register: GCC would read it from memory wherever it is used.
inline void keep([[maybe_unused]] __m512& v) {
#if !defined(CRIA_EMULATE_AVX512)
  asm("" : "+v"(v));
#endif
}
inline void keep([[maybe_unused]] __m512i& v) {
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

class Exp2Words {
 public:
  static __m512i coefficient(int i) {
    return _mm512_set1_epi16(static_cast<short>(spec::kExp2WordPolynomial[i]));
  }

  Exp2Words() {
    CRIA_UNROLL
    for (int i = 0; i < 4; ++i) {
      polynomial_[i] = coefficient(i);
      keep(polynomial_[i]);
    }
  }

  __m512i operator()(__m512i x) const {
    const __m512i fraction = turn(x);
    __m512i q = polynomial_[0];
    CRIA_UNROLL
    for (int i = 1; i < 4; ++i) q = _mm512_add_epi16(multiply(fraction, q), polynomial_[i]);
    return halve(q, fraction);
  }

  // Its steps, for those who do something else between them.
  static __m512i multiply(__m512i fraction, __m512i q) { return _mm512_mulhi_epu16(fraction, q); }
  static __m512i halve(__m512i q, __m512i fraction) {
    return _mm512_avg_epu16(shifted(q, fraction), _mm512_setzero_si512());
  }
  // Four bits to the left, around the end.
#if defined(__AVX512VBMI2__) && !defined(CRIA_EMULATE_AVX512)
  static __m512i turn(__m512i x) { return _mm512_shldi_epi16(x, x, 4); }
#else
  static __m512i turn(__m512i x) {
    return _mm512_or_si512(_mm512_slli_epi16(x, 4), _mm512_srli_epi16(x, 12));
  }
#endif

 private:
  // q >> (16 - x), of the low four bits of x.
#if defined(__AVX512VBMI2__) && !defined(CRIA_EMULATE_AVX512)
  static __m512i shifted(__m512i q, __m512i x) {
    return _mm512_shldv_epi16(_mm512_setzero_si512(), q, x);
  }
#else
  static __m512i shifted(__m512i q, __m512i x) {
    const __m512i integer = _mm512_and_si512(x, _mm512_set1_epi16(15));
    return _mm512_srlv_epi16(q, _mm512_sub_epi16(_mm512_set1_epi16(16), integer));
  }
#endif

  __m512i polynomial_[4];
};

}  // namespace
}  // namespace cria::avx512

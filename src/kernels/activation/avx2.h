// e^x, 2^x and silu on eight floats, 2^x on sixteen words: the operations of activation/exp.h,
// exp2.h and exp2_words.h, one by one.
#pragma once

#include <immintrin.h>

#include "kernels/activation/exp2.h"
#include "kernels/activation/exp2_words.h"
#include "kernels/activation/generic.h"

namespace cria::avx2 {
namespace {

inline __m256 exp(__m256 x) {
  const __m256 magic = _mm256_set1_ps(spec::kExpMagic);
  const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(spec::kLog2E), magic);
  const __m256 n = _mm256_sub_ps(shifted, magic);
  const __m256 high = _mm256_fmadd_ps(n, _mm256_set1_ps(-spec::kLn2High), x);
  const __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-spec::kLn2Low), high);
  __m256 p = _mm256_set1_ps(spec::kExpPolynomial[0]);
  for (int i = 1; i < 6; ++i) {
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(spec::kExpPolynomial[i]));
  }
  p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
  const __m256i power = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23),
                                         _mm256_set1_epi32(0x3f800000));
  __m256 y = _mm256_mul_ps(p, _mm256_castsi256_ps(power));
  const __m256 too_low = _mm256_cmp_ps(x, _mm256_set1_ps(spec::kExpLowest), _CMP_LT_OQ);
  y = _mm256_andnot_ps(too_low, y);
  const __m256 too_high = _mm256_cmp_ps(x, _mm256_set1_ps(spec::kExpHighest), _CMP_GT_OQ);
  const __m256 infinity = _mm256_castsi256_ps(_mm256_set1_epi32(0x7f800000));
  return _mm256_blendv_ps(y, infinity, too_high);
}

inline __m256 exp2_of_negative(__m256 x) {
  const __m256 magic = _mm256_set1_ps(spec::kExpMagic);
  const __m256 shifted = _mm256_add_ps(x, magic);
  const __m256 r = _mm256_sub_ps(x, _mm256_sub_ps(shifted, magic));
  __m256 p = _mm256_set1_ps(spec::kExp2Polynomial[0]);
  for (int i = 1; i < 5; ++i) {
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(spec::kExp2Polynomial[i]));
  }
  const __m256i power = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23),
                                         _mm256_set1_epi32(0x3f800000));
  const __m256 too_low = _mm256_cmp_ps(x, _mm256_set1_ps(spec::kExp2Lowest), _CMP_LT_OQ);
  return _mm256_andnot_ps(too_low, _mm256_mul_ps(p, _mm256_castsi256_ps(power)));
}

inline __m256 silu(__m256 x) {
  const __m256 minus_x = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exp(minus_x)));
}

// Words are shifted by what they say as products with powers of two, whose bytes are looked up.
inline __m256i exp2_words(__m256i x) {
  const __m256i power_bytes =
      _mm256_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64,
                       -128, 0, 0, 0, 0, 0, 0, 0, 0);
  const __m256i integer = _mm256_srli_epi16(x, 12);
  const __m256i fraction = _mm256_or_si256(_mm256_slli_epi16(x, 4), integer);
  __m256i q = _mm256_set1_epi16(static_cast<short>(spec::kExp2WordPolynomial[0]));
  for (int i = 1; i < 4; ++i) {
    const __m256i c = _mm256_set1_epi16(static_cast<short>(spec::kExp2WordPolynomial[i]));
    q = _mm256_add_epi16(_mm256_mulhi_epu16(fraction, q), c);
  }
  // Low bytes look up the integer, high ones 8 less; what is negative gives 0.
  const __m256i twice = _mm256_or_si256(integer, _mm256_slli_epi16(integer, 8));
  const __m256i power =
      _mm256_shuffle_epi8(power_bytes, _mm256_sub_epi16(twice, _mm256_set1_epi16(0x0800)));
  return _mm256_avg_epu16(_mm256_mulhi_epu16(q, power), _mm256_setzero_si256());
}

}  // namespace
}  // namespace cria::avx2

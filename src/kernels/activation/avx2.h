// e^x, 2^x and silu on eight floats: the operations of activation/exp.h and exp2.h, one by one.
#pragma once

#include <immintrin.h>

#include "kernels/activation/exp2.h"
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

}  // namespace
}  // namespace cria::avx2

// e^x on sixteen floats that are at most 0: the operations of activation/exp.h, one by one.
#pragma once

#include "kernels/activation/generic.h"
#include "kernels/panel/avx512.h"

namespace cria::avx512 {
namespace {

// For x that is at most 0 or not-a-number.
inline __m512 exp_of_negative(__m512 x) {
  const __m512 magic = _mm512_set1_ps(spec::kExpMagic);
  const __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(spec::kLog2E), magic);
  const __m512 n = _mm512_sub_ps(shifted, magic);
  const __m512 high = _mm512_fmadd_ps(n, _mm512_set1_ps(-spec::kLn2High), x);
  const __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-spec::kLn2Low), high);
  __m512 p = _mm512_set1_ps(spec::kExpPolynomial[0]);
  for (int i = 1; i < 6; ++i) {
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(spec::kExpPolynomial[i]));
  }
  p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
  const __m512i power = _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(shifted), 23),
                                         _mm512_set1_epi32(0x3f800000));
  const __m512 y = _mm512_mul_ps(p, _mm512_castsi512_ps(power));
  const __mmask16 too_low = _mm512_cmp_ps_mask(x, _mm512_set1_ps(spec::kExpLowest), _CMP_LT_OQ);
  return _mm512_mask_blend_ps(too_low, y, _mm512_setzero_ps());
}

}  // namespace
}  // namespace cria::avx512

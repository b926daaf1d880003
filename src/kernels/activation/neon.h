// e^x, 2^x and silu on four floats, 2^x on eight words: the operations of activation/exp.h, exp2.h
// and exp2_words.h, one by one.
#pragma once

#include <arm_neon.h>

#include "kernels/activation/exp2.h"
#include "kernels/activation/exp2_words.h"
#include "kernels/activation/generic.h"

namespace cria::neon {
namespace {

inline float32x4_t exp(float32x4_t x) {
  const float32x4_t magic = vdupq_n_f32(spec::kExpMagic);
  const float32x4_t shifted = vfmaq_f32(magic, x, vdupq_n_f32(spec::kLog2E));
  const float32x4_t n = vsubq_f32(shifted, magic);
  const float32x4_t high = vfmsq_f32(x, n, vdupq_n_f32(spec::kLn2High));
  const float32x4_t r = vfmsq_f32(high, n, vdupq_n_f32(spec::kLn2Low));
  float32x4_t p = vdupq_n_f32(spec::kExpPolynomial[0]);
  for (int i = 1; i < 6; ++i) p = vfmaq_f32(vdupq_n_f32(spec::kExpPolynomial[i]), p, r);
  p = vaddq_f32(vfmaq_f32(r, p, vmulq_f32(r, r)), vdupq_n_f32(1.0f));
  const int32x4_t power =
      vaddq_s32(vshlq_n_s32(vreinterpretq_s32_f32(shifted), 23), vdupq_n_s32(0x3f800000));
  const uint32x4_t y = vreinterpretq_u32_f32(vmulq_f32(p, vreinterpretq_f32_s32(power)));
  const uint32x4_t too_low = vcltq_f32(x, vdupq_n_f32(spec::kExpLowest));
  const uint32x4_t too_high = vcgtq_f32(x, vdupq_n_f32(spec::kExpHighest));
  const uint32x4_t infinity = vdupq_n_u32(0x7f800000);
  return vreinterpretq_f32_u32(vbslq_u32(too_high, infinity, vbicq_u32(y, too_low)));
}

inline float32x4_t exp2_of_negative(float32x4_t x) {
  const float32x4_t magic = vdupq_n_f32(spec::kExpMagic);
  const float32x4_t shifted = vaddq_f32(x, magic);
  const float32x4_t r = vsubq_f32(x, vsubq_f32(shifted, magic));
  float32x4_t p = vdupq_n_f32(spec::kExp2Polynomial[0]);
  for (int i = 1; i < 5; ++i) p = vfmaq_f32(vdupq_n_f32(spec::kExp2Polynomial[i]), p, r);
  const int32x4_t power =
      vaddq_s32(vshlq_n_s32(vreinterpretq_s32_f32(shifted), 23), vdupq_n_s32(0x3f800000));
  const uint32x4_t y = vreinterpretq_u32_f32(vmulq_f32(p, vreinterpretq_f32_s32(power)));
  return vreinterpretq_f32_u32(vbicq_u32(y, vcltq_f32(x, vdupq_n_f32(spec::kExp2Lowest))));
}

inline float32x4_t silu(float32x4_t x) {
  return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), exp(vnegq_f32(x))));
}

inline uint16x8_t high_product(uint16x8_t a, uint16x8_t b) {
  const uint32x4_t low = vmull_u16(vget_low_u16(a), vget_low_u16(b));
  return vuzp2q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(vmull_high_u16(a, b)));
}

// A shift that rounds does both of the last two steps.
inline uint16x8_t exp2_words(uint16x8_t x) {
  const uint16x8_t fraction = vsriq_n_u16(vshlq_n_u16(x, 4), x, 12);
  uint16x8_t q = vdupq_n_u16(spec::kExp2WordPolynomial[0]);
  for (int i = 1; i < 4; ++i)
    q = vaddq_u16(high_product(fraction, q), vdupq_n_u16(spec::kExp2WordPolynomial[i]));
  const int16x8_t integer = vreinterpretq_s16_u16(vshrq_n_u16(x, 12));
  return vrshlq_u16(q, vsubq_s16(integer, vdupq_n_s16(17)));
}

}  // namespace
}  // namespace cria::neon

// e^x, 2^x and silu on four floats: the operations of activation/exp.h and exp2.h, one by one.
#pragma once

#include <arm_neon.h>

#include "kernels/activation/exp2.h"
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

}  // namespace
}  // namespace cria::neon

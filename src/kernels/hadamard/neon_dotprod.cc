// hadamard with NEON: the first two stages within vectors of 4, then two stages a pass.
#include <arm_neon.h>

#include "kernels/hadamard/generic.h"
#include "kernels/isa.h"

namespace cria {
namespace neon {
namespace {

// Lanes whose partner comes first become (partner + -lane), the others (partner + lane).
inline float32x4_t stage(float32x4_t v, float32x4_t partner, uint32x4_t minus) {
  const uint32x4_t signed_v = veorq_u32(vreinterpretq_u32_f32(v), minus);
  return vaddq_f32(partner, vreinterpretq_f32_u32(signed_v));
}

inline float32x4_t stages_1_2(float32x4_t v) {
  const std::uint32_t kMinus1[4] = {0, 0x80000000u, 0, 0x80000000u};
  const std::uint32_t kMinus2[4] = {0, 0, 0x80000000u, 0x80000000u};
  v = stage(v, vrev64q_f32(v), vld1q_u32(kMinus1));
  return stage(v, vextq_f32(v, v, 2), vld1q_u32(kMinus2));
}

// Stages h and 2h.
inline void two_stages(float* v, std::int64_t block, std::int64_t h) {
  for (std::int64_t i = 0; i < block; i += 4 * h) {
    for (std::int64_t j = i; j < i + h; j += 4) {
      const float32x4_t a = vld1q_f32(v + j), b = vld1q_f32(v + j + h);
      const float32x4_t c = vld1q_f32(v + j + 2 * h), d = vld1q_f32(v + j + 3 * h);
      const float32x4_t ab = vaddq_f32(a, b), a_b = vsubq_f32(a, b);
      const float32x4_t cd = vaddq_f32(c, d), c_d = vsubq_f32(c, d);
      vst1q_f32(v + j, vaddq_f32(ab, cd));
      vst1q_f32(v + j + h, vaddq_f32(a_b, c_d));
      vst1q_f32(v + j + 2 * h, vsubq_f32(ab, cd));
      vst1q_f32(v + j + 3 * h, vsubq_f32(a_b, c_d));
    }
  }
}

inline void one_stage(float* v, std::int64_t block, std::int64_t h) {
  for (std::int64_t i = 0; i < block; i += 2 * h) {
    for (std::int64_t j = i; j < i + h; j += 4) {
      const float32x4_t a = vld1q_f32(v + j), b = vld1q_f32(v + j + h);
      vst1q_f32(v + j, vaddq_f32(a, b));
      vst1q_f32(v + j + h, vsubq_f32(a, b));
    }
  }
}

inline void hadamard_block(const float* x, const float* signs, const HadamardArgs& args,
                           float* out) {
  for (std::int64_t i = 0; i < args.block; i += 4) {
    float32x4_t v = vld1q_f32(x + i);
    if (!args.inverse) v = vmulq_f32(v, vld1q_f32(signs + i));
    vst1q_f32(out + i, stages_1_2(v));
  }
  std::int64_t h = 4;
  for (; 2 * h < args.block; h *= 4) two_stages(out, args.block, h);
  if (h < args.block) one_stage(out, args.block, h);
  const float32x4_t scale = vdupq_n_f32(spec::hadamard_scale(args.block));
  for (std::int64_t i = 0; i < args.block; i += 4) {
    float32x4_t v = vmulq_f32(vld1q_f32(out + i), scale);
    if (args.inverse) v = vmulq_f32(v, vld1q_f32(signs + i));
    vst1q_f32(out + i, v);
  }
}

}  // namespace
}  // namespace neon

void hadamard_neon_dotprod(const HadamardArgs& args) {
  if (args.block < 4) return spec::hadamard(args);
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    for (std::int64_t c = 0; c < args.n_cols; c += args.block) {
      neon::hadamard_block(args.x + t * args.x_stride + c, args.signs + c, args,
                           args.out + t * args.out_stride + c);
    }
  }
}

}  // namespace cria

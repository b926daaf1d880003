// rope with NEON.
#include <arm_neon.h>

#include "kernels/isa.h"
#include "kernels/rope/generic.h"

namespace cria {
namespace neon {
namespace {

inline void rope_head(float* head, std::int64_t half, const float* cos, const float* sin) {
  std::int64_t i = 0;
  for (; i + 4 <= half; i += 4) {
    const float32x4_t c = vld1q_f32(cos + i);
    const float32x4_t s = vld1q_f32(sin + i);
    const float32x4_t a = vld1q_f32(head + i);
    const float32x4_t b = vld1q_f32(head + half + i);
    vst1q_f32(head + i, vfmaq_f32(vnegq_f32(vmulq_f32(b, s)), a, c));
    vst1q_f32(head + half + i, vfmaq_f32(vmulq_f32(a, s), b, c));
  }
  spec::rope_head(head, i, half, cos, sin);
}

}  // namespace
}  // namespace neon

void rope_neon_dotprod(const RopeArgs& args) {
  const std::int64_t half = args.head_dim / 2;
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    for (std::int64_t h = 0; h < args.n_heads; ++h) {
      neon::rope_head(args.x + t * args.x_stride + h * args.head_dim, half, args.cos + t * half,
                      args.sin + t * half);
    }
  }
}

}  // namespace cria

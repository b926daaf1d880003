// add and mul with NEON.
#include <arm_neon.h>

#include "kernels/isa.h"

namespace cria {

void add_neon_dotprod(const BinaryArgs& args) {
  std::int64_t i = 0;
  for (; i + 4 <= args.n; i += 4) {
    vst1q_f32(args.out + i, vaddq_f32(vld1q_f32(args.x + i), vld1q_f32(args.y + i)));
  }
  for (; i < args.n; ++i) args.out[i] = args.x[i] + args.y[i];
}

void mul_neon_dotprod(const BinaryArgs& args) {
  std::int64_t i = 0;
  for (; i + 4 <= args.n; i += 4) {
    vst1q_f32(args.out + i, vmulq_f32(vld1q_f32(args.x + i), vld1q_f32(args.y + i)));
  }
  for (; i < args.n; ++i) args.out[i] = args.x[i] * args.y[i];
}

}  // namespace cria

// softmax with NEON: the specification's eight lanes are two registers.
#include "kernels/activation/neon.h"
#include "kernels/isa.h"
#include "kernels/softmax/neon.h"

namespace cria {
void softmax_neon_dotprod(const UnaryArgs& args) {
  const float max = neon::max_of(args.x, args.n);
  const float32x4_t max_4 = vdupq_n_f32(max);
  float32x4_t sums[2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
  std::int64_t i = 0;
  for (; i + 8 <= args.n; i += 8) {
    for (int half = 0; half < 2; ++half) {
      const float32x4_t x = vld1q_f32(args.x + i + 4 * half);
      const float32x4_t e = neon::exp(vsubq_f32(x, max_4));
      vst1q_f32(args.out + i + 4 * half, e);
      sums[half] = vaddq_f32(sums[half], e);
    }
  }
  float lanes[8];
  vst1q_f32(lanes, sums[0]);
  vst1q_f32(lanes + 4, sums[1]);
  for (; i < args.n; ++i) {
    args.out[i] = spec::exp(args.x[i] - max);
    lanes[i % 8] += args.out[i];
  }
  const float sum = spec::sum_of_lanes(lanes);
  const float32x4_t divisor = vdupq_n_f32(sum);
  for (i = 0; i + 4 <= args.n; i += 4) {
    vst1q_f32(args.out + i, vdivq_f32(vld1q_f32(args.out + i), divisor));
  }
  for (; i < args.n; ++i) args.out[i] = args.out[i] / sum;
}

}  // namespace cria

// store_f16 with NEON.
#include <arm_neon.h>

#include "kernels/isa.h"
#include "tensor/float16.h"

namespace cria {

void store_f16_neon_dotprod(const StoreF16Args& args) {
  std::int64_t i = 0;
  for (; i + 8 <= args.n; i += 8) {
    const float16x4_t low = vcvt_f16_f32(vld1q_f32(args.x + i));
    const float16x8_t halves = vcvt_high_f16_f32(low, vld1q_f32(args.x + i + 4));
    vst1q_u16(args.out + i, vreinterpretq_u16_f16(halves));
  }
  for (; i < args.n; ++i) args.out[i] = f32_to_f16(args.x[i]);
}

}  // namespace cria

// silu and swiglu with NEON.
#include "kernels/activation/neon.h"
#include "kernels/isa.h"

namespace cria {

void silu_neon_dotprod(const UnaryArgs& args) {
  std::int64_t i = 0;
  for (; i + 4 <= args.n; i += 4) vst1q_f32(args.out + i, neon::silu(vld1q_f32(args.x + i)));
  for (; i < args.n; ++i) args.out[i] = spec::silu_of(args.x[i]);
}

void swiglu_neon_dotprod(const SwiGluArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const float* gate = args.gate + t * args.in_stride;
    const float* up = args.up + t * args.in_stride;
    float* out = args.out + t * args.out_stride;
    std::int64_t i = 0;
    for (; i + 4 <= args.width; i += 4) {
      vst1q_f32(out + i, vmulq_f32(neon::silu(vld1q_f32(gate + i)), vld1q_f32(up + i)));
    }
    for (; i < args.width; ++i) out[i] = spec::silu_of(gate[i]) * up[i];
  }
}

}  // namespace cria

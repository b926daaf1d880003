// quantize_a8 with NEON: one block of 32 at a time.
#include <arm_neon.h>

#include "kernels/isa.h"
#include "kernels/quantize_a8/generic.h"

namespace cria {
namespace neon {
namespace {

constexpr int kParts = kColumnGroup / 4;

// Eight floats as integers of 16 bits; the conversion rounds to nearest even, as the
// specification's magic number does.
inline int16x8_t round_8(const float32x4_t* v, float32x4_t inverse) {
  const int32x4_t low = vcvtnq_s32_f32(vmulq_f32(v[0], inverse));
  return vqmovn_high_s32(vqmovn_s32(low), vcvtnq_s32_f32(vmulq_f32(v[1], inverse)));
}

inline void quantize_block(const float* x, std::int8_t* codes, A8Block& block) {
  float32x4_t v[kParts];
  uint32x4_t amax = vdupq_n_u32(0);
  for (int i = 0; i < kParts; ++i) {
    v[i] = vld1q_f32(x + 4 * i);
    amax = vmaxq_u32(amax, vreinterpretq_u32_f32(vabsq_f32(v[i])));
  }
  const std::uint32_t amax_bits = vmaxvq_u32(amax);
  if (amax_bits >= spec::kA8OverflowBits || amax_bits < spec::kA8SmallestBits) {
    return spec::quantize_a8_block(x, codes, block);  // rare: zeros and what is not finite
  }
  block.scale = spec::a8_scale(amax_bits);
  const float32x4_t inverse = vdupq_n_f32(1.0f / block.scale);
  for (int half = 0; half < 2; ++half) {
    const float32x4_t* from = v + 4 * half;
    const int8x8_t low = vqmovn_s16(round_8(from, inverse));
    const int8x16_t bytes = vqmovn_high_s16(low, round_8(from + 2, inverse));
    vst1q_s8(codes + 16 * half, bytes);
    block.sums[half] = vaddlvq_s8(bytes);
  }
}

}  // namespace
}  // namespace neon

void quantize_a8_neon_dotprod(const QuantizeA8Args& args) {
  const std::int64_t n_blocks = a8_blocks(args.n_cols);
  const std::int64_t n_whole = args.n_cols / kColumnGroup;
  for (std::int64_t t = args.first_token; t < args.first_token + args.n_tokens; ++t) {
    const float* x = args.x + t * args.x_stride;
    std::int64_t at = a8_index(t, 0, args.n_rows, n_blocks);
    const std::int64_t step = a8_index(t, 1, args.n_rows, n_blocks) - at;
    for (std::int64_t b = 0; b < n_whole; ++b, at += step) {
      neon::quantize_block(x + b * kColumnGroup, args.codes + at * kColumnGroup, args.blocks[at]);
    }
    if (n_whole < n_blocks) {
      spec::quantize_a8_tail(x + n_whole * kColumnGroup, args.n_cols - n_whole * kColumnGroup,
                             args.codes + at * kColumnGroup, args.blocks[at]);
    }
  }
}

}  // namespace cria

// attention with NEON's smmla: two columns times both planes of the weights over eight positions,
// so that even one row uses all of it.
#include "kernels/attention/neon.h"
#include "kernels/isa.h"

namespace cria {
namespace neon {
namespace {

inline int8x16x2_t zip_32(int8x16_t a, int8x16_t b) {
  const int32x4_t even = vreinterpretq_s32_s8(a), odd = vreinterpretq_s32_s8(b);
  return {
      {vreinterpretq_s8_s32(vzip1q_s32(even, odd)), vreinterpretq_s8_s32(vzip2q_s32(even, odd))}};
}

struct SmmlaValues {
  static void linear_a8(const LinearA8Args& args) { linear_a8_neon_i8mm(args); }

  // A register is 8 positions of both planes.
  static int8x16x2_t pair_planes(int8x16_t low, int8x16_t high) {
    return {{vcombine_s8(vget_low_s8(low), vget_low_s8(high)),
             vcombine_s8(vget_high_s8(low), vget_high_s8(high))}};
  }

  template <int kRows, int kParts>
  [[gnu::always_inline]] static void add_panel(const std::int8_t* values, std::int64_t quad_bytes,
                                               const int8x16_t (&codes)[kRows][2],
                                               int32x4_t (&sum)[kRows][kParts][2]) {
    unroll<2>([&]<int half>() __attribute__((always_inline)) {
      const std::int8_t* quads = values + 2 * half * quad_bytes;
      CRIA_UNROLL
      for (int j = 0; j < kParts; ++j) {
        const int8x16x2_t v =
            zip_32(vld1q_s8(quads + 16 * j), vld1q_s8(quads + quad_bytes + 16 * j));
        CRIA_UNROLL
        for (int r = 0; r < kRows; ++r) {
          sum[r][j][0] = vmmlaq_s32(sum[r][j][0], v.val[0], codes[r][half]);
          sum[r][j][1] = vmmlaq_s32(sum[r][j][1], v.val[1], codes[r][half]);
        }
      }
    });
  }

  // Each register is two columns, low and high next to each other.
  static int32x4x2_t split_planes(const int32x4_t (&sum)[2]) {
    return {{vuzp1q_s32(sum[0], sum[1]), vuzp2q_s32(sum[0], sum[1])}};
  }
};

}  // namespace
}  // namespace neon

void attention_neon_i8mm(const AttentionArgs& args) {
  attention_block::attention<neon::NeonAttention<neon::SmmlaValues>>(args);
}

}  // namespace cria

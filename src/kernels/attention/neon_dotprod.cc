// attention with NEON's sdot: a quad of positions is a lane of a register of weights.
#include "kernels/attention/neon.h"
#include "kernels/isa.h"

namespace cria {
namespace neon {
namespace {

struct SdotValues {
  static void linear_a8(const LinearA8Args& args) { linear_a8_neon_dotprod(args); }

  static int8x16x2_t pair_planes(int8x16_t low, int8x16_t high) { return {{low, high}}; }

  template <int kRows, int kParts>
  [[gnu::always_inline]] static void add_panel(const std::int8_t* values, std::int64_t quad_bytes,
                                               const int8x16_t (&codes)[kRows][2],
                                               int32x4_t (&sum)[kRows][kParts][2]) {
    unroll<kKvPanel / 4>([&]<int quad>() __attribute__((always_inline)) {
      CRIA_UNROLL
      for (int j = 0; j < kParts; ++j) {
        const int8x16_t v = vld1q_s8(values + quad * quad_bytes + 16 * j);
        CRIA_UNROLL
        for (int r = 0; r < kRows; ++r) {
          sum[r][j][0] = vdotq_laneq_s32(sum[r][j][0], v, codes[r][0], quad);
          sum[r][j][1] = vdotq_laneq_s32(sum[r][j][1], v, codes[r][1], quad);
        }
      }
    });
  }

  static int32x4x2_t split_planes(const int32x4_t (&sum)[2]) { return {{sum[0], sum[1]}}; }
};

}  // namespace
}  // namespace neon

void attention_neon_dotprod(const AttentionArgs& args) {
  attention_block::attention<neon::NeonAttention<neon::SdotValues>>(args);
}

}  // namespace cria

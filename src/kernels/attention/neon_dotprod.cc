// attention with NEON's sdot, which multiplies signed bytes: weights are taken less 128, and what
// that takes from the sums of a column, 128 times the sum of its codes, is added for all rows.
#include "kernels/attention/neon.h"
#include "kernels/isa.h"

namespace cria {
namespace neon {
namespace {

struct SdotValues {
  static void linear_a8(const LinearA8Args& args) { linear_a8_neon_dotprod(args); }

  template <int kRows, int kParts>
  struct Sums {
    Sums() {
      for (auto& row : less) {
        for (int32x4_t& sum : row) sum = vdupq_n_s32(0);
      }
      for (int32x4_t& sum : of_codes) sum = vdupq_n_s32(0);
    }

    [[gnu::always_inline]] void add_panel(const std::int8_t* values, std::int64_t quad_bytes,
                                          const WeightBytes* weights, int panel) {
      int8x16_t w[kRows];
      CRIA_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const uint8x16_t bytes = vld1q_u8(weights[r].of + kKvPanel * panel);
        w[r] = vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(128)));
      }
      unroll<kKvPanel / 4>([&]<int quad>() __attribute__((always_inline)) {
        CRIA_UNROLL
        for (int j = 0; j < kParts; ++j) {
          const int8x16_t v = vld1q_s8(values + quad * quad_bytes + 16 * j);
          of_codes[j] = vdotq_s32(of_codes[j], v, vdupq_n_s8(1));
          CRIA_UNROLL
          for (int r = 0; r < kRows; ++r) {
            less[r][j] = vdotq_laneq_s32(less[r][j], v, w[r], quad);
          }
        }
      });
    }

    int32x4_t of(int r, int j) const { return vaddq_s32(less[r][j], vshlq_n_s32(of_codes[j], 7)); }

    int32x4_t less[kRows][kParts];
    int32x4_t of_codes[kParts];
  };
};

}  // namespace
}  // namespace neon

void attention_neon_dotprod(const AttentionArgs& args) {
  attention_block::attention<neon::NeonAttention<neon::SdotValues>>(args);
}

}  // namespace cria

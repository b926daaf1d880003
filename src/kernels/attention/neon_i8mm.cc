// attention with NEON's usmmla: two rows of weights times two columns, over eight positions.
#include "kernels/attention/neon.h"
#include "kernels/isa.h"

namespace cria {
namespace neon {
namespace {

// Columns 0 and 1, and 2 and 3, of eight positions.
inline int8x16x2_t pairs_of_columns(const std::int8_t* values, std::int64_t quad_bytes) {
  const int32x4_t a = vreinterpretq_s32_s8(vld1q_s8(values));
  const int32x4_t b = vreinterpretq_s32_s8(vld1q_s8(values + quad_bytes));
  return {{vreinterpretq_s8_s32(vzip1q_s32(a, b)), vreinterpretq_s8_s32(vzip2q_s32(a, b))}};
}

struct UsmmlaValues {
  static void linear_a8(const LinearA8Args& args) { linear_a8_neon_i8mm(args); }

  template <int kRows, int kParts>
  struct Sums {
    static constexpr int kPairs = (kRows + 1) / 2;  // of rows; the last may have one

    Sums() {
      for (auto& pair : sum) {
        for (auto& part : pair) part[0] = part[1] = vdupq_n_s32(0);
      }
    }

    [[gnu::always_inline]] void add_panel(const std::int8_t* values, std::int64_t quad_bytes,
                                          const WeightBytes* weights, int panel) {
      unroll<2>([&]<int half>() __attribute__((always_inline)) {
        const std::int64_t at = kKvPanel * panel + 8 * half;
        uint8x16_t w[kPairs];
        CRIA_UNROLL
        for (int i = 0; i < kPairs; ++i) {
          const uint8x8_t one = vld1_u8(weights[2 * i].of + at);
          const bool is_pair = 2 * i + 1 < kRows;
          w[i] = vcombine_u8(one, is_pair ? vld1_u8(weights[2 * i + 1].of + at) : vdup_n_u8(0));
        }
        CRIA_UNROLL
        for (int j = 0; j < kParts; ++j) {
          const std::int8_t* quads = values + 2 * half * quad_bytes + 16 * j;
          const int8x16x2_t v = pairs_of_columns(quads, quad_bytes);
          CRIA_UNROLL
          for (int i = 0; i < kPairs; ++i) {
            sum[i][j][0] = vusmmlaq_s32(sum[i][j][0], w[i], v.val[0]);
            sum[i][j][1] = vusmmlaq_s32(sum[i][j][1], w[i], v.val[1]);
          }
        }
      });
    }

    int32x4_t of(int r, int j) const {
      const int64x2_t a = vreinterpretq_s64_s32(sum[r / 2][j][0]);
      const int64x2_t b = vreinterpretq_s64_s32(sum[r / 2][j][1]);
      return vreinterpretq_s32_s64(r % 2 == 0 ? vzip1q_s64(a, b) : vzip2q_s64(a, b));
    }

    int32x4_t sum[kPairs][kParts][2];  // a pair of columns of both rows a register
  };
};

}  // namespace
}  // namespace neon

void attention_neon_i8mm(const AttentionArgs& args) {
  attention_block::attention<neon::NeonAttention<neon::UsmmlaValues>>(args);
}

}  // namespace cria

// linear_a8 with NEON's sdot: four products of signed bytes are added to each 32-bit lane, and the
// four activations come from a lane of a register. So a quad of 16 rows and 4 tokens is 4 loads and
// 16 sdot, without any shuffling.
#include "kernels/isa.h"
#include "kernels/linear_a8/neon.h"

namespace cria {
namespace neon {
namespace {

// Values stay in the panel's order: [quad][quarter][4 rows x 4 columns].
struct SdotTile {
  static constexpr bool kOneToken = true;

  static void store_pair(std::int8_t* values, int pair, int p, int8x16_t even, int8x16_t odd) {
    std::int8_t* at = values + 128 * pair + 16 * p;
    vst1q_s8(at, even);
    vst1q_s8(at + 64, odd);
  }

  template <int quads, int kTokens, int kParts>
  [[gnu::always_inline]] static void run(const std::int8_t* values, int first, const std::int8_t* x,
                                         std::int64_t x_stride, int32x4_t (&dot)[kTokens][kParts]) {
    for (auto& token : dot) {
      for (int32x4_t& sum : token) sum = vdupq_n_s32(0);
    }
    values += 16 * first;
    unroll<quads / 4>([&]<int half>() __attribute__((always_inline)) {
      int8x16_t x_half[kTokens];
      for (int t = 0; t < kTokens; ++t) x_half[t] = vld1q_s8(x + t * x_stride + 16 * half);
      unroll<4>([&]<int lane>() __attribute__((always_inline)) {
        CRIA_UNROLL
        for (int p = 0; p < kParts; ++p) {
          const int8x16_t w = vld1q_s8(values + (4 * half + lane) * 64 + 16 * p);
          CRIA_UNROLL
          for (int t = 0; t < kTokens; ++t) {
            dot[t][p] = vdotq_laneq_s32(dot[t][p], w, x_half[t], lane);
            keep(dot[t][p]);
          }
        }
      });
    });
  }
};

}  // namespace
}  // namespace neon

void linear_a8_neon_dotprod(const LinearA8Args& args) { neon::linear_a8<neon::SdotTile>(args); }

}  // namespace cria

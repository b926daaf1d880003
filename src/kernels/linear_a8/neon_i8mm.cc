// linear_a8 with NEON's smmla: two rows times two tokens over eight columns, twice the products of
// sdot. One token would waste half of them: that is left to neon_dotprod.cc.
#include "kernels/isa.h"
#include "kernels/linear_a8/neon.h"

namespace cria {
namespace neon {
namespace {

// Values are kept as smmla takes them: [pair of quads][pair of rows][2 rows x 8 columns].
struct SmmlaTile {
  static constexpr bool kOneToken = false;

  static void store_pair(std::int8_t* values, int pair, int p, int8x16_t even, int8x16_t odd) {
    const int32x4_t a = vreinterpretq_s32_s8(even);
    const int32x4_t b = vreinterpretq_s32_s8(odd);
    std::int8_t* at = values + 128 * pair + 32 * p;
    vst1q_s8(at, vreinterpretq_s8_s32(vzip1q_s32(a, b)));
    vst1q_s8(at + 16, vreinterpretq_s8_s32(vzip2q_s32(a, b)));
  }

  // 8 columns of two tokens, for the two halves of 16 columns.
  struct TokenPair {
    int8x16_t columns[2];
  };
  static TokenPair load_tokens(const std::int8_t* first, const std::int8_t* second) {
    const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(first));
    const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(second));
    return {{vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))}};
  }

  template <int quads, int kTokens, int kParts>
  [[gnu::always_inline]] static void run(const std::int8_t* values, int first, const std::int8_t* x,
                                         std::int64_t x_stride, int32x4_t (&dot)[kTokens][kParts]) {
    constexpr int kPairs = (kTokens + 1) / 2;
    constexpr int kSecond = kTokens == 1 ? 0 : 1;  // a token alone is its own partner
    int32x4_t sum[kPairs][2 * kParts];  // of a pair of tokens and a pair of rows: r0t0 r0t1 r1t0 ..
    for (auto& pair : sum) {
      for (int32x4_t& tile : pair) tile = vdupq_n_s32(0);
    }
    values += 32 * first;
    unroll<quads / 4>([&]<int half>() __attribute__((always_inline)) {
      TokenPair tokens[kPairs];
      for (int t = 0; t < kPairs; ++t) {
        const std::int8_t* at = x + 2 * t * x_stride + 16 * half;
        tokens[t] = load_tokens(at, at + kSecond * x_stride);
      }
      CRIA_UNROLL
      for (int step = 0; step < 2; ++step) {
        CRIA_UNROLL
        for (int r = 0; r < 2 * kParts; ++r) {
          const int8x16_t w = vld1q_s8(values + (2 * half + step) * 128 + 16 * r);
          CRIA_UNROLL
          for (int t = 0; t < kPairs; ++t) {
            sum[t][r] = vmmlaq_s32(sum[t][r], w, tokens[t].columns[step]);
            keep(sum[t][r]);
          }
        }
      }
    });
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      CRIA_UNROLL
      for (int p = 0; p < kParts; ++p) {
        const int32x4_t* rows = sum[t / 2] + 2 * p;
        dot[t][p] = t % 2 == 0 ? vuzp1q_s32(rows[0], rows[1]) : vuzp2q_s32(rows[0], rows[1]);
      }
    }
  }
};

}  // namespace
}  // namespace neon

void linear_a8_neon_i8mm(const LinearA8Args& args) {
  if (args.n_tokens == 1) return linear_a8_neon_dotprod(args);
  neon::linear_a8<neon::SmmlaTile>(args);
}

}  // namespace cria

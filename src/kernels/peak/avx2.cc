#include <immintrin.h>

#include "kernels/peak/peak.h"

namespace cria {
namespace {

// Loops in assembly: a compiler sees that the operands never change and multiplies only once.
// `body` stands for r = 0 to 4 and adds to the sums ymm\r (0 to 4) and ymm1\r (10 to 14). Operands:
// ymm5 = a, ymm6 = b, ymm7 = c. Free: ymm8, ymm9, ymm15.
constexpr int kSums = 10;
#define CRIA_ROUNDS(n_rounds, a, b, c, body)                                                   \
  asm volatile(                                                                                \
      "vpbroadcastd %[va], %%ymm5\n vpbroadcastd %[vb], %%ymm6\n vpbroadcastd %[vc], %%ymm7\n" \
      ".irp r,0,1,2,3,4\n"                                                                     \
      "vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r\n vpxor %%ymm1\\r, %%ymm1\\r, %%ymm1\\r\n .endr\n"   \
      "1:\n .irp r,0,1,2,3,4\n" body "\n .endr\n sub $1, %[n]\n jnz 1b\n"                      \
      : [n] "+r"(n_rounds)                                                                     \
      : [va] "m"(a), [vb] "m"(b), [vc] "m"(c)                                                  \
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",  \
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

void int8_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const std::uint32_t a = 0x03030303, b = 0x05050505, ones = 0x00010001;
  CRIA_ROUNDS(n_rounds, a, b, ones,
              "vpmaddubsw %%ymm5, %%ymm6, %%ymm8\n vpmaddwd %%ymm7, %%ymm8, %%ymm8\n"
              "vpaddd %%ymm8, %%ymm\\r, %%ymm\\r\n"
              "vpmaddubsw %%ymm5, %%ymm6, %%ymm9\n vpmaddwd %%ymm7, %%ymm9, %%ymm9\n"
              "vpaddd %%ymm9, %%ymm1\\r, %%ymm1\\r");
}

// The even columns are the lower halves of words, the odd ones the upper halves.
void bf16_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const std::uint32_t a = 0x3c003c00, upper = 0xffff0000;
  const float b = 0.01F;
  CRIA_ROUNDS(n_rounds, a, b, upper,
              "vpslld $16, %%ymm5, %%ymm8\n vfmadd231ps %%ymm8, %%ymm6, %%ymm\\r\n"
              "vpand %%ymm5, %%ymm7, %%ymm9\n vfmadd231ps %%ymm9, %%ymm6, %%ymm1\\r");
}

void f32_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const float a = 0.01F, b = 0.02F;
  CRIA_ROUNDS(n_rounds, a, b, b,
              "vfmadd231ps %%ymm5, %%ymm6, %%ymm\\r\n vfmadd231ps %%ymm5, %%ymm6, %%ymm1\\r");
}

void read(const std::byte* data, std::size_t size_bytes) {
  __m256i sums[8] = {};
  for (std::size_t at = 0; at < size_bytes; at += sizeof(sums)) {
    const auto* vectors = reinterpret_cast<const __m256i*>(data + at);
    for (int i = 0; i < 8; ++i) {
      sums[i] = _mm256_xor_si256(sums[i], _mm256_load_si256(vectors + i));
    }
  }
  for (int i = 1; i < 8; ++i) sums[0] = _mm256_xor_si256(sums[0], sums[i]);
  asm volatile("" : : "x"(sums[0]));  // the sum is used
}

}  // namespace

PeakLoops peak_loops_avx2() {
  return {.int8 = {"vpmaddubsw vpmaddwd vpaddd", 32 * kSums, int8_rounds},
          .bf16 = {"vpslld vpand vfmadd", 8 * kSums, bf16_rounds},
          .f32 = {"vfmadd", 8 * kSums, f32_rounds},
          .read = read};
}

}  // namespace cria

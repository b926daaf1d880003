#include <immintrin.h>

#include "kernels/peak/peak.h"

namespace cria {
namespace {

// Loops in assembly: a compiler sees that the operands never change and multiplies only once.
// `body` stands for r = 0 to 9 and adds to the sums zmm\r (0 to 9) and zmm1\r (10 to 19). Operands:
// zmm20 = a, zmm21 = b, zmm22 = c. Free: the others.
constexpr int kSums = 20;
#define CRIA_ROUNDS(n_rounds, a, b, c, body)                                                      \
  asm volatile(                                                                                   \
      "vpbroadcastd %[va], %%zmm20\n vpbroadcastd %[vb], %%zmm21\n vpbroadcastd %[vc], %%zmm22\n" \
      ".irp r,0,1,2,3,4,5,6,7,8,9\n"                                                              \
      "vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r\n vpxord %%zmm1\\r, %%zmm1\\r, %%zmm1\\r\n .endr\n"    \
      "1:\n .irp r,0,1,2,3,4,5,6,7,8,9\n" body "\n .endr\n sub $1, %[n]\n jnz 1b\n"               \
      : [n] "+r"(n_rounds)                                                                        \
      : [va] "m"(a), [vb] "m"(b), [vc] "m"(c)                                                     \
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",     \
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", \
        "xmm20", "xmm21", "xmm22", "xmm23", "xmm24")

void int8_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const std::uint32_t a = 0x03030303, b = 0x05050505;
  CRIA_ROUNDS(n_rounds, a, b, b,
              "vpdpbusd %%zmm20, %%zmm21, %%zmm\\r\n vpdpbusd %%zmm20, %%zmm21, %%zmm1\\r");
}

// Only where cpu_has_bf16_dot().
void bf16_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const std::uint32_t a = 0x3c003c00;
  CRIA_ROUNDS(n_rounds, a, a, a,
              "vdpbf16ps %%zmm20, %%zmm21, %%zmm\\r\n vdpbf16ps %%zmm20, %%zmm21, %%zmm1\\r");
}

// The even columns are the lower halves of words, the odd ones the upper halves.
void widened_bf16_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const std::uint32_t a = 0x3c003c00, upper = 0xffff0000;
  const float b = 0.01F;
  CRIA_ROUNDS(n_rounds, a, b, upper,
              "vpslld $16, %%zmm20, %%zmm23\n vfmadd231ps %%zmm23, %%zmm21, %%zmm\\r\n"
              "vpandd %%zmm20, %%zmm22, %%zmm24\n vfmadd231ps %%zmm24, %%zmm21, %%zmm1\\r");
}

void f32_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const float a = 0.01F, b = 0.02F;
  CRIA_ROUNDS(n_rounds, a, b, b,
              "vfmadd231ps %%zmm20, %%zmm21, %%zmm\\r\n vfmadd231ps %%zmm20, %%zmm21, %%zmm1\\r");
}

void read(const std::byte* data, std::size_t size_bytes) {
  __m512i sums[8] = {};
  for (std::size_t at = 0; at < size_bytes; at += sizeof(sums)) {
    for (int i = 0; i < 8; ++i) {
      sums[i] = _mm512_xor_si512(sums[i], _mm512_load_si512(data + at + 64 * i));
    }
  }
  for (int i = 1; i < 8; ++i) sums[0] = _mm512_xor_si512(sums[0], sums[i]);
  asm volatile("" : : "v"(sums[0]));  // the sum is used
}

}  // namespace

PeakLoops peak_loops_avx512vnni() {
  const DotLoop bf16 = cpu_has_bf16_dot()
                           ? DotLoop{"vdpbf16ps", 32 * kSums, bf16_rounds}
                           : DotLoop{"vpslld vpandd vfmadd", 16 * kSums, widened_bf16_rounds};
  return {.int8 = {"vpdpbusd", 64 * kSums, int8_rounds},
          .bf16 = bf16,
          .f32 = {"vfmadd", 16 * kSums, f32_rounds},
          .read = read};
}

}  // namespace cria

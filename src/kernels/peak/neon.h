// The loops that need no more than dotprod. Included by one file an instruction set, hence all in
// an unnamed namespace.
#pragma once

#include <arm_neon.h>

#include "kernels/peak/peak.h"

namespace cria {
namespace {

// Loops in assembly: a compiler sees that the operands never change and multiplies only once.
// `body` stands for r = 0 to 9 and adds to the sums v\r (0 to 9) and v1\r (10 to 19). Operands:
// v20 = a, v21 = b. Free: the others.
constexpr int kSums = 20;
#define CRIA_ROUNDS(n_rounds, a, b, body)                                                      \
  asm volatile(                                                                                \
      "dup v20.4s, %w[va]\n dup v21.4s, %w[vb]\n"                                              \
      ".irp r,0,1,2,3,4,5,6,7,8,9\n movi v\\r\\().4s, #0\n movi v1\\r\\().4s, #0\n .endr\n"    \
      "1:\n .irp r,0,1,2,3,4,5,6,7,8,9\n" body "\n .endr\n subs %[n], %[n], #1\n b.ne 1b\n"    \
      : [n] "+r"(n_rounds)                                                                     \
      : [va] "r"(a), [vb] "r"(b)                                                               \
      : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", \
        "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23")

constexpr std::uint32_t kSmallFloat = 0x3c23d70a;  // the bits of 0.01F

inline void sdot_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const std::uint32_t a = 0x03030303, b = 0x05050505;
  CRIA_ROUNDS(n_rounds, a, b,
              "sdot v\\r\\().4s, v20.16b, v21.16b\n sdot v1\\r\\().4s, v20.16b, v21.16b");
}

inline void widened_bf16_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const std::uint32_t a = 0x3c003c00;
  CRIA_ROUNDS(n_rounds, a, kSmallFloat,
              "shll v22.4s, v20.4h, #16\n fmla v\\r\\().4s, v22.4s, v21.4s\n"
              "shll2 v23.4s, v20.8h, #16\n fmla v1\\r\\().4s, v23.4s, v21.4s");
}

inline void f32_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  CRIA_ROUNDS(n_rounds, kSmallFloat, kSmallFloat,
              "fmla v\\r\\().4s, v20.4s, v21.4s\n fmla v1\\r\\().4s, v20.4s, v21.4s");
}

inline void read(const std::byte* data, std::size_t size_bytes) {
  uint8x16_t sums[8] = {};
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(data);
  for (std::size_t at = 0; at < size_bytes; at += sizeof(sums)) {
    for (int i = 0; i < 8; ++i) sums[i] = veorq_u8(sums[i], vld1q_u8(bytes + at + 16 * i));
  }
  for (int i = 1; i < 8; ++i) sums[0] = veorq_u8(sums[0], sums[i]);
  asm volatile("" : : "w"(sums[0]));  // the sum is used
}

inline PeakLoops dotprod_loops() {
  return {.int8 = {"sdot", 16 * kSums, sdot_rounds},
          .bf16 = {"shll fmla", 4 * kSums, widened_bf16_rounds},
          .f32 = {"fmla", 4 * kSums, f32_rounds},
          .read = read};
}

}  // namespace
}  // namespace cria

// What the compiler makes of plain loops for the least processor of the architecture.
#include <cstring>

#include "kernels/peak/peak.h"

namespace cria {
namespace {

constexpr std::int64_t kValues = 64;

// Keeps the compiler from computing the loop once for all rounds.
void forget(const void* data) { asm volatile("" : : "r"(data) : "memory"); }

template <typename T, typename Sum, typename Widen>
void rounds(std::int64_t n_rounds, T fill, const Widen& widen) {
  alignas(64) T a[kValues];
  alignas(64) T b[kValues];
  Sum sums[kValues] = {};
  for (std::int64_t i = 0; i < kValues; ++i) a[i] = b[i] = fill;
  for (std::int64_t round = 0; round < n_rounds; ++round) {
    forget(a);
    for (std::int64_t i = 0; i < kValues; ++i) sums[i] += widen(a[i]) * widen(b[i]);
  }
  forget(sums);
}

void int8_rounds(std::int64_t n_rounds) {
  // Unsigned, so that the sums may wrap around.
  rounds<std::int8_t, std::uint32_t>(n_rounds, 1,
                                     [](std::int8_t x) { return static_cast<std::uint32_t>(x); });
}

void bf16_rounds(std::int64_t n_rounds) {
  rounds<std::uint16_t, float>(n_rounds, 0x3c00, [](std::uint16_t x) {
    const std::uint32_t bits = std::uint32_t{x} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  });
}

void f32_rounds(std::int64_t n_rounds) {
  rounds<float, float>(n_rounds, 0.01F, [](float x) { return x; });
}

void read(const std::byte* data, std::size_t size_bytes) {
  std::uint64_t sums[8] = {};
  for (std::size_t at = 0; at < size_bytes; at += sizeof(sums)) {
    std::uint64_t words[8];
    std::memcpy(words, data + at, sizeof(words));
    for (int i = 0; i < 8; ++i) sums[i] ^= words[i];
  }
  forget(sums);
}

}  // namespace

PeakLoops peak_loops_generic() {
  return {.int8 = {"compiled C++", kValues, int8_rounds},
          .bf16 = {"compiled C++", kValues, bf16_rounds},
          .f32 = {"compiled C++", kValues, f32_rounds},
          .read = read};
}

}  // namespace cria

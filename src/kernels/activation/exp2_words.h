// 2^x in words of 16 bits, for the weights of attention over int8 values: the same integer
// operations everywhere, and twice as many words as floats a register.
#pragma once

#include <bit>
#include <cstdint>

namespace cria::spec {
namespace {

// Word x stands for (x - 65535) / 4096, which is above -16 and at most 0.
inline constexpr float kExp2WordOfZero = 65535.0f;
inline constexpr float kExp2WordStep = 4096.0f;
inline constexpr int kExp2WordOne = 1 << 14;
// From the highest degree down, in 2^-16: half of 2^f of a fraction f. Found by a search for the
// smallest largest relative error of exp2_word before it rounds, which is below 1.8e-4 (ops_test
// measures what is left of it), about twice what half a step of x makes.
inline constexpr std::uint16_t kExp2WordPolynomial[4] = {2549, 7421, 22798, 32769};

// 2^14 times 2 to the power that x stands for, rounded: kExp2WordOne down to 0. The fraction is the
// low 12 bits of x; its high 4, the power of two, are left behind it, where they count for next to
// nothing, because that takes one operation.
inline int exp2_word(std::uint16_t x) {
  const std::uint32_t fraction = std::rotl(x, 4);
  std::uint32_t q = kExp2WordPolynomial[0];
  for (int i = 1; i < 4; ++i) q = (fraction * q >> 16) + kExp2WordPolynomial[i];
  const std::uint32_t halves = q >> (16 - (x >> 12));
  return static_cast<int>((halves + 1) >> 1);
}

}  // namespace
}  // namespace cria::spec

// 2^x for the weights of attention, the same operations in scalar and vector code, so that results
// are equal bit for bit.
#pragma once

#include "kernels/activation/exp.h"

namespace cria::spec {
namespace {

// x = n + r, |r| <= 1/2, r exact;  2^x = 2^n p(r). The polynomial is ours: of degree 4, p(0) = 1,
// p(1/2) = 2 p(-1/2), found by a search for the smallest largest relative error, which is below
// 3.7e-6 or 2^-18 (ops_test measures it): an eighth of what rounding to 14 bits loses, a sixtieth
// of what a half float does. Below kExp2Lowest the result is 0: no subnormal is made.
inline constexpr float kExp2Lowest = -126.0f;
inline constexpr float kExp2Polynomial[5] = {9.701322319e-3f, 5.596970929e-2f, 2.402224564e-1f,
                                             6.931155372e-1f, 1.0f};

// For x that is at most 0 or not-a-number.
inline float exp2_of_negative(float x) {
  const float shifted = x + kExpMagic;
  const float r = x - (shifted - kExpMagic);
  float p = kExp2Polynomial[0];
  for (int i = 1; i < 5; ++i) p = std::fma(p, r, kExp2Polynomial[i]);
  const auto power =
      std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) << 23) + 0x3f800000u);
  return x < kExp2Lowest ? 0.0f : p * power;
}

}  // namespace
}  // namespace cria::spec

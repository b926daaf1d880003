// e^x in float, the same operations in scalar and vector code, so that results are equal bit for
// bit.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace cria::spec {
namespace {

// x = n ln 2 + r, |r| <= ln 2 / 2;  e^x = 2^n (1 + r + r^2 p(r)). The polynomial is that of Cephes'
// expf; with fused operations the relative error stays below 1.2e-7 (activation_test measures it).
// Outside [kExpLowest, kExpHighest] the result is 0 or infinity: no subnormal is made.
inline constexpr float kExpLowest = -87.0f;
inline constexpr float kExpHighest = 88.0f;
inline constexpr float kLog2E = 1.44269504f;
inline constexpr float kLn2High = 0x1.62e4p-1f;  // 15 bits, so n * high is exact
inline constexpr float kLn2Low = 0x1.7f7d1cp-20f;
// 1.5 * 2^23: after adding it, the low bits of the sum are the rounded integer.
inline constexpr float kExpMagic = 12582912.0f;
inline constexpr float kExpPolynomial[6] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                            4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};

inline float exp(float x) {
  const float shifted = std::fma(x, kLog2E, kExpMagic);
  const float n = shifted - kExpMagic;
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));
  float p = kExpPolynomial[0];
  for (int i = 1; i < 6; ++i) p = std::fma(p, r, kExpPolynomial[i]);
  p = std::fma(p, r * r, r) + 1.0f;
  const auto power =
      std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) << 23) + 0x3f800000u);
  float y = p * power;
  if (x < kExpLowest) y = 0.0f;
  if (x > kExpHighest) y = std::numeric_limits<float>::infinity();
  return y;
}

}  // namespace
}  // namespace cria::spec

// The numbers in which statistics are kept: integers, so that sums are exact and do not depend on
// the order in which parts of a text were added (docs/statistics.md derives the bounds).
//
// The sums of one window of text are computed in double in one fixed order, rounded once to fixed
// point, and added as integers from then on.
#pragma once

#include <cmath>
#include <cstdint>

namespace cria {

// A sum of squares or of absolute values: 128 bits, unit 2^-64, as it lies in the file.
struct FixedSum {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const FixedSum&) const = default;
};

// An entry of a Hessian: 64 bits, two's complement, unit 2^-kProductBits.
inline constexpr int kProductBits = 20;

// What the sum of squares of one column in one window must stay below. By Cauchy-Schwarz every
// product sum of the window is below it, too, so that 2^51 units are never reached, up to which
// adding 1.5 * 2^52 rounds a double to an integer.
inline constexpr double kLargestWindowSum = 2147483648.0;  // 2^31
// What the diagonal of a Hessian must stay below over all windows, in units: with it, all entries.
inline constexpr std::int64_t kLargestProduct = std::int64_t{1} << 62;

// REQUIRES: 0 <= value < 2^62.
inline FixedSum to_fixed_sum(double value) {
  const double whole = std::floor(value);
  return {static_cast<std::uint64_t>((value - whole) * 0x1p64), static_cast<std::uint64_t>(whole)};
}

inline double to_double(const FixedSum& sum) {
  return static_cast<double>(sum.high) + static_cast<double>(sum.low) * 0x1p-64;
}

// False: the sum does not fit (2^63 in value; `to` is then spoilt).
inline bool add_to(FixedSum& to, const FixedSum& other) {
  to.low += other.low;
  const std::uint64_t carry = to.low < other.low ? 1 : 0;
  to.high += other.high + carry;
  return to.high < std::uint64_t{1} << 63 && other.high < std::uint64_t{1} << 62;
}

// Rounds to nearest, halves to even. REQUIRES: |value| < kLargestWindowSum.
inline std::int64_t to_fixed_product(double value) {
  constexpr double kRound = 0x1.8p52;
  return static_cast<std::int64_t>((value * 0x1p20 + kRound) - kRound);
}
inline double product_to_double(std::int64_t fixed) { return static_cast<double>(fixed) * 0x1p-20; }

}  // namespace cria

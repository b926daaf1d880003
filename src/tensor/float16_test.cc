#include "tensor/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace cria {
namespace {

bool half_is_nan(std::uint16_t half) { return (half & 0x7fff) > 0x7c00; }

// The definition, in double: (-1)^s * 2^(e-15) * (1 + m/1024), subnormal 2^-14 * m/1024.
double half_by_definition(std::uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const double fraction = (half & 0x3ff) / 1024.0;
  double magnitude =
      exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
  if (exponent == 31) magnitude = std::numeric_limits<double>::infinity();
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Float16, EveryHalfIsItsDefinitionAndComesBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = f16_to_f32(half);
    if (half_is_nan(half)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(half_is_nan(f32_to_f16(value))) << bits;
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), half_by_definition(half)) << bits;
    ASSERT_EQ(f32_to_f16(value), half) << bits;
  }
}

TEST(Float16, ManyAtOnceEqualOneByOne) {
  std::vector<std::uint16_t> bits(65536);
  for (std::uint32_t i = 0; i < 65536; ++i) bits[i] = static_cast<std::uint16_t>(i);
  const auto* bytes = reinterpret_cast<const std::byte*>(bits.data());
  std::vector<float> halves(65536), bfloats(65536);
  f16_to_f32(bytes, halves);
  bf16_to_f32(bytes, bfloats);
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const float half = f16_to_f32(bits[i]);
    const float bfloat = bf16_to_f32(bits[i]);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(halves[i]), std::bit_cast<std::uint32_t>(half)) << i;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(bfloats[i]), std::bit_cast<std::uint32_t>(bfloat)) << i;
  }
}

// Between two neighbours the nearer one is taken, half way the even one: checked just below, at and
// just above the middle of every pair of neighbours.
TEST(Float16, RoundsToNearestEven) {
  for (std::uint16_t half = 0; half < 0x7bff; ++half) {
    const auto next = static_cast<std::uint16_t>(half + 1);
    const float middle = 0.5f * (f16_to_f32(half) + f16_to_f32(next));  // exact: 12 bits
    ASSERT_EQ(f32_to_f16(middle), half % 2 == 0 ? half : next) << half;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), half) << half;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), next) << half;
    ASSERT_EQ(f32_to_f16(-std::nextafter(middle, 1e9f)), next | 0x8000) << half;
  }
}

TEST(Float16, OverflowIsInfinity) {
  EXPECT_EQ(f32_to_f16(65504.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_TRUE(half_is_nan(f32_to_f16(std::bit_cast<float>(0x7f800001u))));
}

TEST(Bfloat16, RoundsToNearestEvenAndKeepsSpecials) {
  std::mt19937 random(1);
  for (int i = 0; i < 100000; ++i) {
    const auto high = static_cast<std::uint16_t>(random() & 0x7f7f);  // finite, next one too
    const float low_value = bf16_to_f32(high);
    const float middle = std::bit_cast<float>((std::uint32_t{high} << 16) | 0x8000u);
    ASSERT_EQ(f32_to_bf16(low_value), high);
    ASSERT_EQ(f32_to_bf16(middle), high % 2 == 0 ? high : high + 1);
    ASSERT_EQ(f32_to_bf16(std::nextafter(middle, 0.0f)), high);
    ASSERT_EQ(f32_to_bf16(std::nextafter(middle, std::numeric_limits<float>::infinity())),
              high + 1);
  }
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(f32_to_bf16(-std::numeric_limits<float>::infinity()), 0xff80);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace cria

#include "tensor/e8p.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "tensor/code_words.h"

namespace cria {
namespace {

using Octet = std::array<std::int8_t, kE8Width>;

std::vector<Octet> all_points() {
  std::vector<Octet> points(65536);
  for (unsigned code = 0; code < 65536; ++code) {
    e8p_decode(static_cast<std::uint16_t>(code), points[code].data());
  }
  return points;
}

TEST(E8p, VectorsAreAllOfNormTenAndSomeOfNormTwelve) {
  int n_short = 0, n_long = 0;
  for (int n = 0; n < 256; ++n) {
    int norm = 0, sum = 0, n_three_halves = 0;
    for (std::uint8_t quarters : e8p_vectors()[n]) {
      EXPECT_EQ(quarters % 4, 2);
      norm += quarters * quarters;
      sum += quarters;
      n_three_halves += quarters == 6;
    }
    EXPECT_EQ(norm % 16, 0);
    (norm <= 160 ? n_short : n_long) += 1;
    if (norm > 160) {
      EXPECT_EQ(norm, 192);
      EXPECT_EQ(n_three_halves, 5);
    }
    // Halves add up to a whole number; odd ones become even with an odd number of minus signs.
    EXPECT_EQ(sum / 4 % 2 != 0, n >= kE8pFirstOdd) << n;
  }
  EXPECT_EQ(n_short, 227);
  EXPECT_EQ(n_long, 29);
}

TEST(E8p, CodesAre65536DistinctPointsOfE8PlusAQuarter) {
  const auto points = all_points();
  EXPECT_EQ(std::set(points.begin(), points.end()).size(), 65536u);
  for (unsigned code = 0; code < 65536; ++code) {
    const int shift = (code & 128) != 0 ? 1 : -1;
    int sum = 0;
    for (int quarters : points[code]) {
      ASSERT_EQ(std::abs(quarters - shift) % 4, 2);  // a half and whole numbers
      sum += quarters - shift;
    }
    ASSERT_EQ(sum % 8, 0) << code;  // an even sum
  }
}

TEST(E8p, PointsOfTheOneBitStageAreTheShortestOfE8) {
  std::set<Octet> distinct;
  int n_of_norm[9] = {};
  for (const auto& point : e8_points()) {
    Octet octet;
    int norm = 0, sum = 0, n_odd = 0;
    for (int i = 0; i < kE8Width; ++i) {
      octet[i] = point[i];
      norm += point[i] * point[i];
      sum += point[i];
      n_odd += point[i] % 2 != 0;
    }
    distinct.insert(octet);
    EXPECT_EQ(sum % 4, 0);
    EXPECT_TRUE(n_odd == 0 || n_odd == kE8Width);
    ASSERT_LE(norm, 16);
    n_of_norm[norm / 2] += 1;
  }
  EXPECT_EQ(distinct.size(), 256u);
  EXPECT_EQ(n_of_norm[0], 1);
  EXPECT_EQ(n_of_norm[4], 240);
  EXPECT_EQ(n_of_norm[8], 15);
}

template <typename Point>
double distance(const float* x, const Point& point, double unit) {
  double sum = 0;
  for (int i = 0; i < kE8Width; ++i) {
    const double off = x[i] - point[i] / unit;
    sum += off * off;
  }
  return sum;
}

// Weights of all sizes: inside the codebook, around its border, far outside, and on its ties.
std::vector<float> random_octet(int round, std::mt19937& random) {
  constexpr float kSigmas[] = {0.3f, 1.0f, 1.0f, 1.5f, 3.0f, 10.0f};
  std::normal_distribution<float> normal(0, kSigmas[round % 6]);
  std::vector<float> x(kE8Width);
  for (float& value : x) value = normal(random);
  if (round % 7 == 0) {
    for (float& value : x) value = std::round(4 * value) / 4;
  }
  return x;
}

// The margin is for the roundings of the search, about 60 in float of sums below 16 |x|^2 + 16.
TEST(E8p, NearestIsNearest) {
  const auto points = all_points();
  std::mt19937 random(1);
  for (int round = 0; round < 600; ++round) {
    const auto x = random_octet(round, random);
    double best = 1e30, norm = 1;
    for (float value : x) norm += value * value;
    for (const Octet& point : points) best = std::min(best, distance(x.data(), point, 4));
    const double found = distance(x.data(), points[e8p_nearest(x.data())], 4);
    ASSERT_LE(found, best + 60 * 16 * norm * 0x1p-24) << round;
  }
}

TEST(E8p, NearestOfTheOneBitStageIsNearest) {
  std::mt19937 random(2);
  for (int round = 0; round < 6000; ++round) {
    const auto x = random_octet(round, random);
    double best = 1e30, norm = 1;
    for (float value : x) norm += value * value;
    for (const auto& point : e8_points()) best = std::min(best, distance(x.data(), point, 2));
    const double found = distance(x.data(), e8_points()[e8_nearest(x.data())], 2);
    ASSERT_LE(found, best + 60 * 16 * norm * 0x1p-24) << round;
  }
}

TEST(E8p, EveryPointIsNearestToItself) {
  for (unsigned code = 0; code < 65536; ++code) {
    std::int8_t quarters[kE8Width];
    e8p_decode(static_cast<std::uint16_t>(code), quarters);
    float x[kE8Width];
    for (int i = 0; i < kE8Width; ++i) x[i] = 0.25f * static_cast<float>(quarters[i]);
    ASSERT_EQ(e8p_nearest(x), code);
  }
}

double gaussian_error(int bits, float rms) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, rms);
  double error = 0, total = 0;
  for (int n = 0; n < 20000; ++n) {
    float x[kE8Width];
    for (float& value : x) value = normal(random);
    std::uint8_t codes[kE8Width];
    std::int8_t values[kE8Width];
    e8p_quantize_octet(bits, x, codes);
    e8p_decode_octet(bits, codes, values);
    error += distance(x, values, e8p_unit(bits));
    for (float value : x) total += static_cast<double>(value) * value;
  }
  return error / total;
}

// Against the rate that is possible at all, 4^-bits, and the best there is with one weight a code
// (Lloyd-Max: 0.1175, 0.0345 and 0.0095 for 2, 3 and 4 bits).
TEST(E8p, ErrorOnNormalWeightsLiesBetweenTheBoundAndScalarCodes) {
  constexpr double kScalar[] = {0.1175, 0.0345, 0.0095};
  for (int bits : {2, 3, 4}) {
    const double error = gaussian_error(bits, e8p_best_rms(bits));
    EXPECT_GT(error, std::pow(4.0, -bits));
    EXPECT_LT(error, kScalar[bits - 2]) << bits;
    EXPECT_LT(error, gaussian_error(bits, 0.8f * e8p_best_rms(bits))) << bits;
    EXPECT_LT(error, gaussian_error(bits, 1.2f * e8p_best_rms(bits))) << bits;
  }
}

TEST(E8p, ValuesOfAllCodesFitTheirBytes) {
  for (int bits : {2, 3, 4}) {
    std::mt19937 random(4);
    int largest = 0;
    for (int n = 0; n < 200000; ++n) {
      std::uint8_t codes[kE8Width];
      for (auto& code : codes) code = static_cast<std::uint8_t>(random() & ((1u << bits) - 1));
      std::int8_t values[kE8Width], first[kE8Width];
      e8p_decode_octet(bits, codes, values);
      std::uint8_t low[kE8Width];
      split_word(join_codes(codes, kE8Width, bits), kE8Width, 2, low);
      e8p_decode_octet(2, low, first);
      for (int i = 0; i < kE8Width; ++i) {
        largest = std::max(largest, std::abs(values[i]));
        const int left = values[i] - (bits == 4 ? 4 : 1) * first[i];
        ASSERT_LE(std::abs(left), bits == 2 ? 0 : bits == 3 ? 4 : 11);
      }
    }
    EXPECT_LE(largest, bits == 2 ? 11 : bits == 3 ? 15 : 55);
  }
}

}  // namespace
}  // namespace cria

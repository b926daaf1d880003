#include "quantize/e8p_rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tensor/float16.h"

namespace cria {
namespace {

using Row = std::vector<float>;

constexpr Encoding kEncodings[] = {Encoding::kE8P2,    Encoding::kE8P3,    Encoding::kE8P4,
                                   Encoding::kE8P2G32, Encoding::kE8P3G32, Encoding::kE8P4G32};

Row normal_row(std::size_t n, float size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, size);
  Row row(n);
  for (float& w : row) w = normal(random);
  return row;
}

Row decode(const RowCodes& codes) {
  Row row(codes.n_cols);
  decode_codes(codes, row);
  return row;
}

RowCodes quantize(Encoding encoding, const Row& row, QuantizeError* error = nullptr,
                  const Row& importance = {}) {
  RowCodes codes(encoding, static_cast<std::int64_t>(row.size()));
  const Result<QuantizeError> result = quantize_row(row, importance, codes);
  EXPECT_TRUE(result.ok()) << result.status().message();
  if (error != nullptr) *error = *result;
  return codes;
}

// docs/encodings.md has the errors of the codebooks on normally distributed weights, each at its
// best scale: 9.14, 2.95 and 0.84 %, from 100,000 octets. A scale that is searched comes within a
// twentieth of them; 4096 weights vary by a thirtieth.
TEST(E8pRounding, ReachesTheErrorOfTheCodebook) {
  const Row row = normal_row(4096, 0.02f, 1);
  for (const auto& [encoding, expected] :
       {std::pair{Encoding::kE8P2, 0.0914}, {Encoding::kE8P3, 0.0295}, {Encoding::kE8P4, 0.0084}}) {
    QuantizeError error;
    quantize(encoding, row, &error);
    EXPECT_NEAR(error.relative_mse(), expected, 0.09 * expected) << encoding_spec(encoding).name;
  }
}

// Rows of any size and kind: what is reported is what is decoded, and is not above what zeros would
// lose.
TEST(E8pRounding, ReportsTheErrorOfWhatIsDecoded) {
  for (const Encoding encoding : kEncodings) {
    for (const std::size_t n : {1u, 7u, 8u, 31u, 32u, 100u, 1024u}) {
      Row spike(n, 0.0f), same(n, -0.37f);
      spike[n / 2] = -5;
      for (const Row& row : {normal_row(n, 0.02f, 2), normal_row(n, 1e4f, 3), spike, same}) {
        QuantizeError error;
        const Row decoded = decode(quantize(encoding, row, &error));
        double sum = 0;
        for (std::size_t k = 0; k < n; ++k) sum += std::pow(row[k] - decoded[k], 2.0);
        EXPECT_NEAR(error.error_sum, sum, 1e-6 * sum);
        EXPECT_LE(error.error_sum, error.weight_sum) << encoding_spec(encoding).name << ", " << n;
      }
    }
  }
}

TEST(E8pRounding, ZerosStayZerosAndTheTinyBecomeZeros) {
  for (const Encoding encoding : kEncodings) {
    for (const float size : {0.0f, 1e-30f, 1e-12f}) {
      for (const float w : decode(quantize(encoding, Row(64, size)))) EXPECT_EQ(w, 0.0f);
    }
  }
  // One block of zeros among others.
  Row row = normal_row(96, 1, 4);
  std::fill_n(row.begin() + 32, 32, 0.0f);
  const Row decoded = decode(quantize(Encoding::kE8P4G32, row));
  for (int k = 32; k < 64; ++k) EXPECT_EQ(decoded[k], 0.0f);
  EXPECT_NE(decoded[0], 0.0f);
}

// Nearly all that counts is in the first half, which is four times as large as the second: its
// error gets smaller when the search knows that.
TEST(E8pRounding, ImportanceChoosesTheScale) {
  Row row = normal_row(1024, 0.02f, 5), importance(1024, 0.001f);
  std::fill_n(importance.begin(), 512, 2.0f);
  for (int k = 512; k < 1024; ++k) row[k] *= 0.25f;
  const auto error_of = [&](const Row& decoded) {
    double sum = 0;
    for (int k = 0; k < 512; ++k) sum += std::pow(row[k] - decoded[k], 2.0);
    return sum;
  };
  for (const Encoding encoding : {Encoding::kE8P2, Encoding::kE8P3, Encoding::kE8P4}) {
    EXPECT_LT(error_of(decode(quantize(encoding, row, nullptr, importance))),
              error_of(decode(quantize(encoding, row))))
        << encoding_spec(encoding).name;
  }
}

TEST(E8pRounding, RefusesWhatIsNotFinite) {
  for (const float bad : {NAN, INFINITY, 1e6f}) {
    Row row(64, 1.0f);
    row[9] = bad;
    RowCodes codes(Encoding::kE8P2, 64);
    const Status status = quantize_row(row, codes).status();
    EXPECT_EQ(status.code(), ErrorCode::kBadInput);
    EXPECT_NE(status.message().find("column 9"), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace cria

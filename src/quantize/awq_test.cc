#include "quantize/awq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "quantize/hessian_for_test.h"

namespace cria {
namespace {

std::vector<float> diagonal_of(const Matrix& hessian) {
  std::vector<float> squares;
  for (std::int64_t c = 0; c < hessian.n_cols; ++c) squares.push_back(hessian.row(c)[c]);
  return squares;
}

AwqScales search(std::span<const AwqLinear> linears, const AwqInput& input, int n_threads = 2) {
  ThreadPool pool(n_threads);
  Result<AwqScales> found = search_awq_scales(linears, input, pool);
  EXPECT_TRUE(found.ok()) << found.status().message();
  return std::move(*found);
}

// The error of the outputs in doubles, weights rounded after scaling.
double output_error(const AwqLinear& linear, const Matrix& hessian,
                    const std::vector<float>& scales) {
  double sum = 0;
  const std::int64_t n = linear.rows->n_cols;
  for (std::int64_t r = 0; r < linear.rows->n_rows; ++r) {
    std::vector<float> row(n), errors(n);
    for (std::int64_t c = 0; c < n; ++c) row[c] = linear.rows->row(r)[c] * scales[c];
    RowCodes codes(linear.encoding, n);
    EXPECT_TRUE(quantize_row(row, codes).ok());
    decode_codes(codes, errors);
    for (std::int64_t c = 0; c < n; ++c) errors[c] = linear.rows->row(r)[c] - errors[c] / scales[c];
    sum += quadratic_form(errors, hessian);
  }
  return sum;
}

TEST(Awq, TheErrorItReportsIsTheOneOfItsScales) {
  const Matrix a = random_weights(40, 96, 1), b = random_weights(16, 96, 2);
  const Matrix hessian = random_hessian(96, 200, 3);
  const std::vector<float> squares = diagonal_of(hessian);
  const AwqLinear linears[] = {{&a, Encoding::kQ4, false}, {&b, Encoding::kQ3, false}};
  const AwqScales found = search(linears, {squares, &hessian, {}});
  const std::vector<float> ones(96, 1.0f);
  double before = 0, after = 0;
  for (const AwqLinear& linear : linears) {
    before += output_error(linear, hessian, ones);
    after += output_error(linear, hessian, found.scales);
  }
  EXPECT_LT(found.error, 0.95) << "channels of very different size are worth scaling";
  // Products in float, sums of 96 x 96 of them in double.
  EXPECT_NEAR(after / before, found.error, 1e-4);
  const auto [low, high] = std::minmax_element(found.scales.begin(), found.scales.end());
  EXPECT_GT(*low, 0);
  EXPECT_NEAR(*low * *high, 1, 1e-5);
}

TEST(Awq, ALargeChannelGetsALargeScale) {
  const Matrix weights = random_weights(64, 64, 4);
  std::vector<float> squares(64, 1.0f);
  squares[17] = 1e4f;
  const AwqLinear linear{&weights, Encoding::kQ4, false};
  const AwqScales found = search(std::span(&linear, 1), {squares, nullptr, {}});
  EXPECT_EQ(std::max_element(found.scales.begin(), found.scales.end()) - found.scales.begin(), 17);
  EXPECT_LT(found.error, 0.5);
}

TEST(Awq, SharedChannelsGetOneScale) {
  const Matrix weights = random_weights(64, 64, 5), hessian = random_hessian(64, 100, 6);
  const std::vector<float> squares = diagonal_of(hessian);
  std::vector<std::int32_t> shared;
  for (int c = 0; c < 64; ++c) shared.push_back(c % 16);
  const AwqLinear linear{&weights, Encoding::kQ3, false};
  const AwqScales found = search(std::span(&linear, 1), {squares, &hessian, shared});
  EXPECT_LT(found.error, 1);
  for (int c = 16; c < 64; ++c) EXPECT_EQ(found.scales[c], found.scales[c - 16]);
  EXPECT_NE(found.scales[0], found.scales[1]);
}

// Nothing is known of them, so nothing may break: channels and weights that are all 0.
TEST(Awq, ZerosAreNoTrouble) {
  Matrix weights = random_weights(16, 64, 7);
  for (std::int64_t r = 0; r < 16; ++r) weights.row(r)[3] = 0;
  std::vector<float> squares(64, 1.0f);
  squares[5] = 0;
  const AwqLinear linear{&weights, Encoding::kQ4, true};
  for (const float s : search(std::span(&linear, 1), {squares, nullptr, {}}).scales) {
    EXPECT_TRUE(std::isfinite(s) && s > 0);
  }
  squares.assign(64, 0.0f);
  EXPECT_EQ(search(std::span(&linear, 1), {squares, nullptr, {}}).error, 1);
  const Matrix zeros(16, 64);
  squares.assign(64, 1.0f);
  const AwqLinear nothing{&zeros, Encoding::kQ4, false};
  EXPECT_EQ(search(std::span(&nothing, 1), {squares, nullptr, {}}).error, 1);
}

TEST(Awq, DoesNotDependOnThreads) {
  const Matrix weights = random_weights(300, 128, 8), hessian = random_hessian(128, 100, 9);
  const std::vector<float> squares = diagonal_of(hessian);
  const AwqLinear linear{&weights, Encoding::kQ4Nl, true};
  const AwqInput input{squares, &hessian, {}};
  EXPECT_EQ(search(std::span(&linear, 1), input, 1).scales,
            search(std::span(&linear, 1), input, 3).scales);
}

TEST(Awq, RefusesWhatTheEncodingCannotHold) {
  Matrix weights = random_weights(16, 64, 10);
  weights.row(9)[3] = 1e6f;
  const std::vector<float> squares(64, 1.0f);
  const AwqLinear linear{&weights, Encoding::kQ4, false};
  ThreadPool pool(1);
  const Status status =
      search_awq_scales(std::span(&linear, 1), {squares, nullptr, {}}, pool).status();
  EXPECT_EQ(status.code(), ErrorCode::kBadInput);
  EXPECT_NE(status.message().find("column 3"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace cria

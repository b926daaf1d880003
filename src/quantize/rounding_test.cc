#include "quantize/rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "quantize/hessian_for_test.h"

namespace cria {
namespace {

Result<RoundedMatrix> rounded(const Matrix& weights, const RoundingRequest& request,
                              int n_threads = 1) {
  ThreadPool pool(n_threads);
  return round_matrix(weights, request, pool);
}

TEST(Rounding, NearestIsRowByRow) {
  const Matrix weights = random_weights(40, 100, 1);
  const std::vector<float> importance(100, 3.0f);  // equal, so as good as none
  RoundingRequest request;
  request.encoding = Encoding::kQ5;
  request.importance = importance;
  const Result<RoundedMatrix> result = rounded(weights, request, 3);
  ASSERT_TRUE(result.ok());
  QuantizeError error;
  for (std::int64_t r = 0; r < 40; ++r) {
    RowCodes codes(Encoding::kQ5, 100);
    error.add(*quantize_row(weights.row(r), codes));
    EXPECT_EQ(result->rows[r].codes, codes.codes);
    EXPECT_EQ(result->rows[r].scales_f16, codes.scales_f16);
  }
  EXPECT_EQ(result->error.error_sum, error.error_sum);
  // What is reported counts importance as it was given.
  EXPECT_NEAR(result->output_error, 3 * error.error_sum, 1e-5 * error.error_sum);
  EXPECT_NEAR(result->output_sum, 3 * error.weight_sum, 1e-5 * error.weight_sum);
}

TEST(Rounding, WithoutStatisticsTheOutputErrorIsThatOfTheWeights) {
  const Matrix weights = random_weights(10, 64, 2);
  const Result<RoundedMatrix> result = rounded(weights, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->output_error, result->error.error_sum);
  EXPECT_EQ(result->output_sum, result->error.weight_sum);
}

// A diagonal Hessian says what importance says.
TEST(Rounding, AHessianMeasuresTheOutput) {
  const Matrix weights = random_weights(10, 64, 3);
  std::vector<float> importance(64);
  Matrix hessian(64, 64);
  for (int k = 0; k < 64; ++k) hessian.row(k)[k] = importance[k] = 0.1f + static_cast<float>(k);
  RoundingRequest request;
  request.importance = importance;
  const Result<RoundedMatrix> by_importance = rounded(weights, request);
  request.hessian = &hessian;
  const Result<RoundedMatrix> by_hessian = rounded(weights, request);
  ASSERT_TRUE(by_importance.ok() && by_hessian.ok());
  EXPECT_NEAR(by_hessian->output_error, by_importance->output_error,
              1e-5 * by_importance->output_error);
  EXPECT_NEAR(by_hessian->output_sum, by_importance->output_sum, 1e-5 * by_importance->output_sum);
}

TEST(Rounding, ImportanceLowersTheWeightedError) {
  const Matrix weights = random_weights(64, 256, 4), hessian = random_hessian(256, 300, 5);
  std::vector<float> importance(256);
  for (int k = 0; k < 256; ++k) importance[k] = hessian.row(k)[k];
  Matrix diagonal(256, 256);
  for (int k = 0; k < 256; ++k) diagonal.row(k)[k] = importance[k];
  RoundingRequest request;
  request.hessian = &diagonal;
  const Result<RoundedMatrix> without = rounded(weights, request);
  request.importance = importance;
  const Result<RoundedMatrix> with = rounded(weights, request);
  ASSERT_TRUE(without.ok() && with.ok());
  EXPECT_LT(with->output_error, without->output_error);
}

TEST(Rounding, RefusesWhatDoesNotFit) {
  Matrix weights = random_weights(4, 64, 6);
  const Matrix hessian = random_hessian(32, 64, 7);
  std::vector<float> importance(63, 1.0f);
  RoundingRequest request;
  request.importance = importance;
  EXPECT_EQ(rounded(weights, request).status().code(), ErrorCode::kInvalidArgument);
  request = {};
  request.hessian = &hessian;
  EXPECT_EQ(rounded(weights, request).status().code(), ErrorCode::kInvalidArgument);
  request = {};
  request.method = RoundingMethod::kGptq;
  EXPECT_EQ(rounded(weights, request).status().code(), ErrorCode::kInvalidArgument);
  request = {};
  request.encoding = Encoding::kF16;
  EXPECT_EQ(rounded(weights, request).status().code(), ErrorCode::kUnsupported);
  importance.assign(64, 1.0f);
  importance[9] = -1;
  request = {};
  request.importance = importance;
  EXPECT_EQ(rounded(weights, request).status().code(), ErrorCode::kBadInput);
}

TEST(Rounding, RefusesWeightsThatAreNotFinite) {
  Matrix weights = random_weights(200, 64, 8);
  const Matrix hessian = random_hessian(64, 100, 9);
  weights.row(150)[3] = NAN;
  RoundingRequest request;
  request.hessian = &hessian;
  for (const RoundingMethod method : {RoundingMethod::kNearest, RoundingMethod::kGptq}) {
    request.method = method;
    const Status status = rounded(weights, request, 2).status();
    EXPECT_EQ(status.code(), ErrorCode::kBadInput);
    EXPECT_NE(status.message().find("row 150"), std::string::npos);
    EXPECT_NE(status.message().find("column 3"), std::string::npos);
  }
}

}  // namespace
}  // namespace cria

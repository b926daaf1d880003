#include "quantize/ldlq.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "quantize/hessian_for_test.h"
#include "tensor/e8p.h"

namespace cria {
namespace {

constexpr Encoding kEncodings[] = {Encoding::kE8P2,    Encoding::kE8P3,    Encoding::kE8P4,
                                   Encoding::kE8P2G32, Encoding::kE8P3G32, Encoding::kE8P4G32};

RoundedMatrix rounded(const Matrix& weights, const RoundingRequest& request, int n_threads = 1) {
  ThreadPool pool(n_threads);
  Result<RoundedMatrix> result = round_matrix(weights, request, pool);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return std::move(*result);
}

RoundingRequest ldlq(Encoding encoding, const Matrix& hessian) {
  RoundingRequest request;
  request.method = RoundingMethod::kGptq;
  request.encoding = encoding;
  request.hessian = &hessian;
  return request;
}

TEST(Ldlq, LowersTheOutputErrorOnCorrelatedInputs) {
  const Matrix weights = random_weights(64, 256, 3), hessian = random_hessian(256, 512, 4);
  for (const Encoding encoding : kEncodings) {
    RoundingRequest nearest;
    nearest.encoding = encoding;
    nearest.hessian = &hessian;
    const double plain = rounded(weights, nearest).output_error;
    const RoundedMatrix by_ldlq = rounded(weights, ldlq(encoding, hessian));
    EXPECT_LT(by_ldlq.output_error, plain) << encoding_spec(encoding).name;
    EXPECT_GT(by_ldlq.output_error, 0);
  }
}

TEST(Ldlq, SweepsLowerTheOutputError) {
  const Matrix weights = random_weights(40, 200, 23), hessian = random_hessian(200, 400, 24);
  ThreadPool pool(2);
  for (const Encoding encoding : kEncodings) {
    const Result<HessianFactor> factor =
        HessianFactor::create(hessian, 0.01, ColumnOrder::kByOctets, pool);
    ASSERT_TRUE(factor.ok());
    double least = 0;
    for (int n_sweeps = 0; n_sweeps < 3; ++n_sweeps) {
      const Result<RoundedMatrix> result =
          round_ldlq(weights, encoding, factor->diagonal(), *factor, pool, n_sweeps);
      ASSERT_TRUE(result.ok());
      if (n_sweeps > 0) {
        EXPECT_LT(result->output_error, least) << encoding_spec(encoding).name;
      }
      least = result->output_error;
    }
  }
}

// Whatever is reported is found again in what is decoded; 198 columns end in part of an octet.
TEST(Ldlq, ReportsTheErrorOfWhatIsDecoded) {
  const std::int64_t n = 198;
  const Matrix weights = random_weights(33, n, 5), hessian = random_hessian(n, 400, 6);
  for (const Encoding encoding : kEncodings) {
    const RoundedMatrix by_ldlq = rounded(weights, ldlq(encoding, hessian));
    double error = 0, sum = 0;
    QuantizeError of_weights;
    for (std::int64_t r = 0; r < weights.n_rows; ++r) {
      std::vector<float> decoded(n), off(n);
      decode_codes(by_ldlq.rows[r], decoded);
      for (std::int64_t k = 0; k < n; ++k) off[k] = weights.row(r)[k] - decoded[k];
      error += quadratic_form(off, hessian);
      sum += quadratic_form(weights.row(r), hessian);
      of_weights.add(measure_error(weights.row(r), decoded));
    }
    // Sums of 200 float products (6e-8 * 200 of their size), from which the damping's share, at
    // most some ten times what is left, is taken off.
    EXPECT_NEAR(by_ldlq.output_error, error, 2e-4 * error) << encoding_spec(encoding).name;
    EXPECT_NEAR(by_ldlq.output_sum, sum, 1e-4 * sum);
    EXPECT_EQ(by_ldlq.error.error_sum, of_weights.error_sum);
    EXPECT_EQ(by_ldlq.error.largest, of_weights.largest);
  }
}

// One scale a row is the least-squares one: scaling all of the row up or down by what halves can
// tell gives no less.
TEST(Ldlq, ScalesOfRowsFitTheOutput) {
  const std::int64_t n = 128;
  const Matrix weights = random_weights(8, n, 7);
  Matrix hessian = random_hessian(n, 400, 8);
  const RoundedMatrix by_ldlq = rounded(weights, ldlq(Encoding::kE8P2, hessian));
  double mean = 0;
  for (std::int64_t k = 0; k < n; ++k) mean += hessian.row(k)[k] / static_cast<double>(n);
  for (std::int64_t k = 0; k < n; ++k) {
    hessian.row(k)[k] += static_cast<float>(by_ldlq.damping * mean);
  }
  for (std::int64_t r = 0; r < weights.n_rows; ++r) {
    std::vector<float> decoded(n), off(n);
    decode_codes(by_ldlq.rows[r], decoded);
    double errors[3];
    for (int i = 0; i < 3; ++i) {
      const float ratio = 1 + 0.002f * static_cast<float>(i - 1);
      for (std::int64_t k = 0; k < n; ++k) off[k] = weights.row(r)[k] - ratio * decoded[k];
      errors[i] = quadratic_form(off, hessian);
    }
    EXPECT_LT(errors[1], errors[0]);
    EXPECT_LT(errors[1], errors[2]);
  }
}

// Errors of independent columns cannot be made up for: the codes are the points nearest to the
// weights at the scale that was found.
TEST(Ldlq, IsPlainRoundingWhenColumnsAreIndependent) {
  const std::int64_t n = 136;
  const Matrix weights = random_weights(20, n, 9);
  Matrix hessian(n, n);
  for (std::int64_t k = 0; k < n; ++k) hessian.row(k)[k] = 1;
  for (const Encoding encoding : {Encoding::kE8P2G32, Encoding::kE8P4G32}) {
    const RoundedMatrix by_ldlq = rounded(weights, ldlq(encoding, hessian));
    const int bits = encoding_spec(encoding).bits;
    for (std::int64_t r = 0; r < weights.n_rows; ++r) {
      for (std::int64_t k = 0; k < n; k += kE8Width) {
        const float scale = block_scale(by_ldlq.rows[r], k / 32);
        const float inverse = 1.0f / scale / static_cast<float>(e8p_unit(bits));
        float x[kE8Width];
        for (int i = 0; i < kE8Width; ++i) x[i] = weights.row(r)[k + i] * inverse;
        std::uint8_t codes[kE8Width];
        e8p_quantize_octet(bits, x, codes);
        for (int i = 0; i < kE8Width; ++i) EXPECT_EQ(by_ldlq.rows[r].codes[k + i], codes[i]);
      }
    }
  }
}

TEST(Ldlq, ThreadsChangeNothing) {
  const Matrix weights = random_weights(300, 130, 12), hessian = random_hessian(130, 300, 13);
  const RoundedMatrix one = rounded(weights, ldlq(Encoding::kE8P2, hessian), 1);
  const RoundedMatrix three = rounded(weights, ldlq(Encoding::kE8P2, hessian), 3);
  for (std::int64_t r = 0; r < 300; ++r) ASSERT_EQ(one.rows[r].codes, three.rows[r].codes);
  EXPECT_EQ(one.output_error, three.output_error);
  EXPECT_EQ(one.output_sum, three.output_sum);
}

TEST(Ldlq, SingularAndDeadInputsAndZerosDoNoHarm) {
  Matrix weights = random_weights(16, 96, 18);
  std::fill_n(weights.row(3).begin(), 96, 0.0f);
  Matrix hessian = random_hessian(96, 20, 19);  // rank 20
  for (std::int64_t i = 0; i < 96; ++i) hessian.row(5)[i] = hessian.row(i)[5] = 0;
  const RoundedMatrix result = rounded(weights, ldlq(Encoding::kE8P3, hessian));
  RoundingRequest nearest;
  nearest.encoding = Encoding::kE8P3;
  nearest.hessian = &hessian;
  EXPECT_LT(result.output_error, rounded(weights, nearest).output_error);
  EXPECT_TRUE(std::isfinite(result.error.error_sum));
  std::vector<float> decoded(96);
  decode_codes(result.rows[3], decoded);
  EXPECT_EQ(decoded, std::vector<float>(96, 0.0f));
}

TEST(Ldlq, RefusesWeightsThatAreNotFinite) {
  Matrix weights = random_weights(200, 64, 8);
  const Matrix hessian = random_hessian(64, 100, 9);
  weights.row(150)[3] = NAN;
  ThreadPool pool(2);
  const Status status = round_matrix(weights, ldlq(Encoding::kE8P2, hessian), pool).status();
  EXPECT_EQ(status.code(), ErrorCode::kBadInput);
  EXPECT_NE(status.message().find("row 150: column 3 is nan"), std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace cria

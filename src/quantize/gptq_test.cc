#include "quantize/gptq.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "quantize/gptq_lanes.h"
#include "quantize/hessian_for_test.h"

namespace cria {
namespace {

// Those with a code for each column; ldlq_test has the others.
std::vector<Encoding> encodings() {
  std::vector<Encoding> list;
  for (const EncodingSpec& spec : kEncodingTable) {
    if (can_quantize(spec.encoding) && spec.code_columns() == 1) list.push_back(spec.encoding);
  }
  return list;
}

RoundedMatrix rounded(const Matrix& weights, const RoundingRequest& request, int n_threads = 1) {
  ThreadPool pool(n_threads);
  Result<RoundedMatrix> result = round_matrix(weights, request, pool);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return std::move(*result);
}

RoundingRequest gptq(Encoding encoding, const Matrix& hessian) {
  RoundingRequest request;
  request.method = RoundingMethod::kGptq;
  request.encoding = encoding;
  request.hessian = &hessian;
  return request;
}

HessianFactor factor_of(const Matrix& hessian) {
  ThreadPool pool(1);
  Result<HessianFactor> factor =
      HessianFactor::create(hessian, 0.01, ColumnOrder::kByDiagonal, pool);
  EXPECT_TRUE(factor.ok());
  return std::move(*factor);
}

RoundedMatrix with_sweeps(const Matrix& weights, Encoding encoding, const HessianFactor& factor,
                          int n_sweeps) {
  ThreadPool pool(1);
  Result<RoundedMatrix> result =
      round_gptq(weights, encoding, factor.diagonal(), factor, pool, n_sweeps);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return std::move(*result);
}

Matrix diagonal_matrix(std::int64_t n, unsigned seed) {
  Matrix hessian(n, n);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < n; ++i) hessian.row(i)[i] = std::exp(normal(random));
  return hessian;
}

// Errors of independent columns cannot be made up for, so nothing is left but to round each: by the
// same scales, which the search finds with the damped diagonal as importance.
TEST(Gptq, IsPlainRoundingWhenColumnsAreIndependent) {
  const Matrix weights = random_weights(20, 300, 1), hessian = diagonal_matrix(300, 2);
  const HessianFactor factor = factor_of(hessian);
  for (const Encoding encoding : encodings()) {
    const RoundedMatrix by_gptq = rounded(weights, gptq(encoding, hessian));
    RoundingRequest nearest;
    nearest.encoding = encoding;
    nearest.importance = factor.diagonal();
    const RoundedMatrix plain = rounded(weights, nearest);
    for (std::int64_t r = 0; r < weights.n_rows; ++r) {
      ASSERT_EQ(by_gptq.rows[r].codes, plain.rows[r].codes) << encoding_spec(encoding).name;
      ASSERT_EQ(by_gptq.rows[r].scales_f16, plain.rows[r].scales_f16);
      ASSERT_EQ(by_gptq.rows[r].scales_8, plain.rows[r].scales_8);
    }
  }
}

// 64 rows of 256 columns that mix 8 sources: the gain over plain rounding is a factor, not a matter
// of luck.
TEST(Gptq, LowersTheOutputErrorOnCorrelatedInputs) {
  const Matrix weights = random_weights(64, 256, 3), hessian = random_hessian(256, 512, 4);
  for (const Encoding encoding : encodings()) {
    RoundingRequest nearest;
    nearest.encoding = encoding;
    nearest.hessian = &hessian;
    const double plain = rounded(weights, nearest).output_error;
    const RoundedMatrix by_gptq = rounded(weights, gptq(encoding, hessian));
    EXPECT_LT(by_gptq.output_error, plain) << encoding_spec(encoding).name;
    EXPECT_GT(by_gptq.output_error, 0);
  }
}

// Whatever is reported is found again in what is decoded.
TEST(Gptq, ReportsTheErrorOfWhatIsDecoded) {
  const Matrix weights = random_weights(33, 200, 5), hessian = random_hessian(200, 400, 6);
  for (const Encoding encoding : encodings()) {
    const RoundedMatrix by_gptq = rounded(weights, gptq(encoding, hessian));
    double error = 0, sum = 0;
    QuantizeError of_weights;
    for (std::int64_t r = 0; r < weights.n_rows; ++r) {
      std::vector<float> decoded(200), off(200);
      decode_codes(by_gptq.rows[r], decoded);
      for (int k = 0; k < 200; ++k) off[k] = weights.row(r)[k] - decoded[k];
      error += quadratic_form(off, hessian);
      sum += quadratic_form(weights.row(r), hessian);
      of_weights.add(measure_error(weights.row(r), decoded));
    }
    // Sums of 200 float products (6e-8 * 200 of their size), from which the damping's share, at
    // most some ten times what is left, is taken off.
    EXPECT_NEAR(by_gptq.output_error, error, 2e-4 * error) << encoding_spec(encoding).name;
    EXPECT_NEAR(by_gptq.output_sum, sum, 1e-5 * sum);
    EXPECT_NEAR(by_gptq.error.error_sum, of_weights.error_sum, 1e-4 * of_weights.error_sum);
    EXPECT_NEAR(by_gptq.error.weight_sum, of_weights.weight_sum, 1e-5 * of_weights.weight_sum);
    EXPECT_NEAR(by_gptq.error.largest, of_weights.largest, 1e-6);
  }
}

// The rule itself, written down in doubles: each code is the nearest to what the ones behind it
// leave to aim at. Where the aim is not within float noise of the middle between two values, the
// codes are the same.
TEST(Gptq, FollowsTheRule) {
  const std::int64_t n = 180;
  const Matrix weights = random_weights(4, n, 7), hessian = random_hessian(n, 300, 8);
  const HessianFactor factor = factor_of(hessian);
  const RoundedMatrix by_gptq = with_sweeps(weights, Encoding::kQ4, factor, 0);
  for (std::int64_t r = 0; r < weights.n_rows; ++r) {
    std::vector<float> decoded(n);
    decode_codes(by_gptq.rows[r], decoded);
    for (std::int64_t p = n - 1; p >= 0; --p) {
      const std::int64_t block = p / kHessianBlock, first = block * kHessianBlock;
      const float* u = factor.rows_of(block) + (p - first) * factor.row_stride(block) - first;
      double aim = 0;
      for (std::int64_t q = p + 1; q < n; ++q) {
        const std::int64_t column = factor.column_at(q);
        aim += static_cast<double>(u[q]) * (weights.row(r)[column] - decoded[column]);
      }
      const std::int64_t column = factor.column_at(p);
      aim = weights.row(r)[column] + aim / u[p];
      const double scale = block_scale(by_gptq.rows[r], column / 32);
      const double x = std::max(-8.0, std::min(7.0, aim / scale));
      EXPECT_LE(std::fabs(x - (by_gptq.rows[r].codes[column] - 8)), 0.501) << r << ", " << p;
    }
  }
}

// Each sweep can only gain; float noise is far below what the first gains.
TEST(Gptq, RoundingAgainLowersTheError) {
  const Matrix weights = random_weights(140, 300, 20), hessian = random_hessian(300, 500, 21);
  const HessianFactor factor = factor_of(hessian);
  for (const Encoding encoding : encodings()) {
    double least = 0;
    for (int n_sweeps = 0; n_sweeps < 3; ++n_sweeps) {
      const double error = with_sweeps(weights, encoding, factor, n_sweeps).output_error;
      if (n_sweeps > 0) {
        EXPECT_LT(error, least) << encoding_spec(encoding).name;
      }
      least = error;
    }
  }
}

// When a sweep has nothing left to gain, no column by itself can be rounded better.
TEST(Gptq, SweepsEndWhereNoColumnCanGain) {
  const std::int64_t n = 160;
  const Matrix weights = random_weights(4, n, 22), hessian = random_hessian(n, 300, 23);
  const HessianFactor factor = factor_of(hessian);
  const RoundedMatrix swept = with_sweeps(weights, Encoding::kQ4, factor, 50);
  for (std::int64_t r = 0; r < weights.n_rows; ++r) {
    std::vector<float> decoded(n);
    decode_codes(swept.rows[r], decoded);
    for (std::int64_t k = 0; k < n; ++k) {
      double gradient = static_cast<double>(factor.added()) * (weights.row(r)[k] - decoded[k]);
      for (std::int64_t j = 0; j < n; ++j) {
        gradient += static_cast<double>(hessian.row(k)[j]) * (weights.row(r)[j] - decoded[j]);
      }
      const double scale = block_scale(swept.rows[r], k / 32);
      const double aim = decoded[k] + gradient / factor.diagonal()[k];
      const double x = std::max(-8.0, std::min(7.0, aim / scale));
      EXPECT_LE(std::fabs(x - (swept.rows[r].codes[k] - 8)), 0.501) << r << ", " << k;
    }
  }
}

TEST(Gptq, OneFactorServesSeveralMatrices) {
  const Matrix hessian = random_hessian(160, 300, 9);
  const HessianFactor factor = factor_of(hessian);
  for (const unsigned seed : {10u, 11u}) {
    const Matrix weights = random_weights(20, 160, seed);
    RoundingRequest with_factor = gptq(Encoding::kQ4Nl, hessian);
    const RoundedMatrix a = rounded(weights, with_factor);
    with_factor.hessian = nullptr;
    with_factor.factor = &factor;
    const RoundedMatrix b = rounded(weights, with_factor);
    for (std::int64_t r = 0; r < 20; ++r) EXPECT_EQ(a.rows[r].codes, b.rows[r].codes);
    EXPECT_EQ(a.output_error, b.output_error);
    EXPECT_EQ(b.damping, 0.01);
  }
}

TEST(Gptq, ThreadsChangeNothing) {
  const Matrix weights = random_weights(300, 130, 12), hessian = random_hessian(130, 300, 13);
  const RoundedMatrix one = rounded(weights, gptq(Encoding::kQ4NlK, hessian), 1);
  const RoundedMatrix three = rounded(weights, gptq(Encoding::kQ4NlK, hessian), 3);
  for (std::int64_t r = 0; r < 300; ++r) ASSERT_EQ(one.rows[r].codes, three.rows[r].codes);
  EXPECT_EQ(one.output_error, three.output_error);
  EXPECT_EQ(one.output_sum, three.output_sum);
}

#ifdef CRIA_HAVE_AVX2
TEST(Gptq, EveryInstructionSetGivesTheSameCodes) {
  if (!cpu_supports(Isa::kAvx2)) GTEST_SKIP() << "this processor has no AVX2";
  constexpr std::int64_t kN = 61, kLanes = 16;
  const Matrix weights = random_weights(kN, kLanes, 14), u = random_weights(kN, kN + 3, 15);
  const Matrix scales = random_weights(2, kLanes, 16);
  std::vector<const float*> of_scales(kN, scales.row(0).data()), mins(kN, scales.row(1).data());
  for (const Encoding encoding : encodings()) {
    std::vector<float> results[2];
    std::vector<std::uint8_t> codes[2];
    for (const int avx2 : {0, 1}) {
      std::vector<float>& errors = results[avx2];
      errors.resize((2 * kN + 1) * kLanes);
      codes[avx2].resize(kN * kLanes);
      Matrix feedback = random_weights(kN, kLanes, 17);
      GptqTile tile;
      tile.encoding = encoding;
      tile.n_positions = kN;
      tile.n_lanes = kLanes;
      tile.w = weights.values.data();
      tile.feedback = feedback.values.data();
      tile.u_columns = u.values.data();
      tile.u_stride = kN + 3;
      tile.scales = of_scales.data();
      tile.mins = mins.data();
      tile.errors = errors.data();
      tile.losses = errors.data() + kN * kLanes;
      tile.left = errors.data() + (kN + 1) * kLanes;
      tile.codes = codes[avx2].data();
      (avx2 ? gptq_columns_avx2 : gptq_columns_generic)(tile);
    }
    EXPECT_EQ(results[0], results[1]) << encoding_spec(encoding).name;
    EXPECT_EQ(codes[0], codes[1]) << encoding_spec(encoding).name;
  }
}
#endif

TEST(Gptq, SingularAndDeadInputsDoNoHarm) {
  const Matrix weights = random_weights(16, 96, 18);
  Matrix hessian = random_hessian(96, 20, 19);  // rank 20
  for (std::int64_t i = 0; i < 96; ++i) hessian.row(5)[i] = hessian.row(i)[5] = 0;
  const RoundedMatrix result = rounded(weights, gptq(Encoding::kQ4, hessian));
  RoundingRequest nearest;
  nearest.hessian = &hessian;
  EXPECT_LT(result.output_error, rounded(weights, nearest).output_error);
  EXPECT_TRUE(std::isfinite(result.error.error_sum));
  // All columns dead: nothing to go by, so plain rounding.
  const Matrix nothing(96, 96);
  const RoundedMatrix blind = rounded(weights, gptq(Encoding::kQ4, nothing));
  const RoundedMatrix plain = rounded(weights, {});
  for (std::int64_t r = 0; r < 16; ++r) EXPECT_EQ(blind.rows[r].codes, plain.rows[r].codes);
}

}  // namespace
}  // namespace cria

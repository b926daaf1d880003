#include "quantize/hessian_squares.h"

#include <gtest/gtest.h>

#include <cmath>

#include "quantize/hessian_for_test.h"

namespace cria {
namespace {

TEST(HessianSquares, AreThoseOfTheHessian) {
  const std::int64_t n = 300;  // two blocks and part of a third, part of an octet
  const Matrix hessian = random_hessian(n, 600, 3);
  ThreadPool pool(2);
  const Result<HessianFactor> factor =
      HessianFactor::create(hessian, 0.01, ColumnOrder::kByOctets, pool);
  ASSERT_TRUE(factor.ok()) << factor.status().message();
  const HessianSquares squares(*factor, pool);
  for (std::int64_t p = 0; p < factor->n_positions(); ++p) {
    const float* row = squares.of_block(p / kHessianBlock) + p % kHessianBlock * kHessianBlock;
    for (std::int64_t q = p / kHessianBlock * kHessianBlock;
         q < (p / kHessianBlock + 1) * kHessianBlock; ++q) {
      const bool padding = p >= n || q >= n;
      double expected = p == q ? padding ? 1.0 : factor->added() : 0.0, size = 1;
      if (!padding) {
        const std::int64_t i = factor->column_at(p), j = factor->column_at(q);
        expected += hessian.row(i)[j];
        size = std::sqrt(hessian.row(i)[i] * hessian.row(j)[j]);
      }
      // Up to 300 roundings for the factor and as many for the product, 6e-8 of the size each.
      ASSERT_NEAR(row[q % kHessianBlock], expected, 2 * 300 * 6e-8 * size) << p << " " << q;
    }
  }
}

TEST(HessianSquares, InversesOfOctets) {
  const Matrix hessian = random_hessian(136, 400, 5);
  ThreadPool pool(1);
  const Result<HessianFactor> factor =
      HessianFactor::create(hessian, 0.01, ColumnOrder::kByOctets, pool);
  ASSERT_TRUE(factor.ok());
  const HessianSquares squares(*factor, pool);
  for (std::int64_t octet = 0; octet < factor->n_positions() / kE8Width; ++octet) {
    const std::int64_t first = octet * kE8Width % kHessianBlock;
    const float* square =
        squares.of_block(octet * kE8Width / kHessianBlock) + first * (kHessianBlock + 1);
    for (int i = 0; i < kE8Width; ++i) {
      for (int j = 0; j < kE8Width; ++j) {
        double sum = 0, size = 0;
        for (int k = 0; k < kE8Width; ++k) {
          const double term = static_cast<double>(square[i * kHessianBlock + k]) *
                              squares.inverse_of(octet)[k * kE8Width + j];
          sum += term;
          size += std::fabs(term);
        }
        // The inverse is right in double and then rounded to float.
        EXPECT_NEAR(sum, i == j ? 1 : 0, 1e-7 * size);
      }
    }
  }
}

}  // namespace
}  // namespace cria

#include "quantize/hessian_factor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

#include "quantize/hessian_for_test.h"
#include "quantize/output_error.h"

namespace cria {
namespace {

HessianFactor factor_of(const Matrix& hessian, double damping, ColumnOrder order,
                        int n_threads = 1) {
  ThreadPool pool(n_threads);
  Result<HessianFactor> factor = HessianFactor::create(hessian, damping, order, pool);
  EXPECT_TRUE(factor.ok()) << factor.status().message();
  return std::move(*factor);
}

float u_at(const HessianFactor& factor, std::int64_t p, std::int64_t q) {
  const std::int64_t block = p / kHessianBlock, first = block * kHessianBlock;
  if (q < first) return 0;
  return factor.rows_of(block)[(p - first) * factor.row_stride(block) + q - first];
}

TEST(HessianFactor, TimesItselfIsTheDampedHessian) {
  for (const std::int64_t n : {1, 40, 128, 300}) {
    for (const ColumnOrder order :
         {ColumnOrder::kNatural, ColumnOrder::kByDiagonal, ColumnOrder::kByOctets}) {
      const Matrix hessian = random_hessian(n, 2 * n, 3);
      const HessianFactor factor = factor_of(hessian, 0.01, order);
      EXPECT_EQ(factor.damping(), 0.01);
      for (std::int64_t p = 0; p < n; ++p) {
        for (std::int64_t q = p; q < n; ++q) {
          double sum = 0;
          for (std::int64_t r = 0; r <= p; ++r) {
            sum += static_cast<double>(u_at(factor, r, p)) * u_at(factor, r, q);
          }
          const std::int64_t i = factor.column_at(p), j = factor.column_at(q);
          const double expected = hessian.row(i)[j] + (i == j ? factor.added() : 0);
          // Backward error of a Cholesky factorisation in floats: n roundings of products that
          // Cauchy and Schwarz bound by the two diagonals.
          const double size =
              std::sqrt(static_cast<double>(factor.diagonal()[i]) * factor.diagonal()[j]);
          ASSERT_NEAR(sum, expected, 6e-8 * static_cast<double>(n + 8) * size) << p << ", " << q;
        }
      }
    }
  }
}

TEST(HessianFactor, OrdersOctetsAsAWhole) {
  const std::int64_t n = 150;  // 18 octets and six columns
  const Matrix hessian = random_hessian(n, 300, 5);
  const HessianFactor factor = factor_of(hessian, 0.01, ColumnOrder::kByOctets);
  std::set<std::int64_t> octets;
  double last = 0;
  for (std::int64_t p = 0; p < n; p += 8) {
    const std::int64_t first = factor.column_at(p);
    EXPECT_EQ(first % 8, 0);
    octets.insert(first);
    double sum = 0;
    for (std::int64_t i = 0; i < 8 && p + i < n; ++i) {
      EXPECT_EQ(factor.column_at(p + i), first + i);
      sum += hessian.row(first + i)[first + i];
    }
    if (p == 144) break;
    EXPECT_GE(sum, last);
    last = sum;
  }
  EXPECT_EQ(octets.size(), 19u);
  EXPECT_EQ(factor.column_at(144), 144);
}

TEST(HessianFactor, OrdersByTheDiagonalAndLosesNoColumn) {
  const Matrix hessian = random_hessian(150, 300, 5);
  const HessianFactor factor = factor_of(hessian, 0.01, ColumnOrder::kByDiagonal);
  std::set<std::int64_t> columns;
  for (std::int64_t p = 0; p < factor.n_positions(); ++p) {
    const std::int64_t column = factor.column_at(p);
    if (p >= 150) {
      EXPECT_EQ(column, -1);
      continue;
    }
    columns.insert(column);
    if (p > 0) {
      const std::int64_t before = factor.column_at(p - 1);
      EXPECT_LE(hessian.row(before)[before], hessian.row(column)[column]);
    }
  }
  EXPECT_EQ(columns.size(), 150u);
}

TEST(HessianFactor, ThreadsChangeNothing) {
  const Matrix hessian = random_hessian(700, 200, 7);
  const HessianFactor one = factor_of(hessian, 0.01, ColumnOrder::kByDiagonal, 1);
  const HessianFactor three = factor_of(hessian, 0.01, ColumnOrder::kByDiagonal, 3);
  for (std::int64_t p = 0; p < 700; ++p) {
    for (std::int64_t q = p; q < 700; ++q) ASSERT_EQ(u_at(one, p, q), u_at(three, p, q));
  }
}

// Fewer tokens than columns: singular without damping.
TEST(HessianFactor, RaisesTheDampingUntilItExists) {
  const Matrix hessian = random_hessian(100, 10, 9);
  EXPECT_GT(factor_of(hessian, 0.0, ColumnOrder::kNatural).damping(), 0);
  // Eigenvalues of about 3, 1 and -1: positive from a damping of 1 on.
  Matrix indefinite(3, 3);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) indefinite.row(i)[j] = i == j ? 1 : (i + j == 2 ? -2 : 0.1f);
  }
  const HessianFactor raised = factor_of(indefinite, 0.01, ColumnOrder::kNatural);
  EXPECT_GT(raised.damping(), 1);
}

TEST(HessianFactor, DeadColumnsStayByThemselves) {
  Matrix hessian = random_hessian(64, 200, 11);
  for (const std::int64_t dead : {0, 17, 63}) {
    for (std::int64_t i = 0; i < 64; ++i) hessian.row(dead)[i] = hessian.row(i)[dead] = 0;
  }
  const HessianFactor factor = factor_of(hessian, 0.0, ColumnOrder::kByDiagonal);
  EXPECT_EQ(factor.damping(), 0);
  for (std::int64_t p = 0; p < 3; ++p) {  // the smallest diagonals come first
    EXPECT_GT(u_at(factor, p, p), 0);
    for (std::int64_t q = p + 1; q < 64; ++q) EXPECT_EQ(u_at(factor, p, q), 0);
  }
  const HessianFactor nothing = factor_of(Matrix(40, 40), 0.01, ColumnOrder::kByDiagonal);
  EXPECT_FLOAT_EQ(nothing.diagonal()[7], 1.01f);
}

TEST(HessianFactor, RefusesWhatIsNoHessian) {
  ThreadPool pool(1);
  const auto status_of = [&](const Matrix& hessian, double damping) {
    return HessianFactor::create(hessian, damping, ColumnOrder::kNatural, pool).status();
  };
  EXPECT_EQ(status_of(Matrix(3, 4), 0.01).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(status_of(Matrix(3, 3), -1).code(), ErrorCode::kInvalidArgument);
  Matrix bad(3, 3);
  bad.row(2)[1] = NAN;
  EXPECT_EQ(status_of(bad, 0.01).code(), ErrorCode::kBadInput);
  EXPECT_NE(status_of(bad, 0.01).message().find("row 2, column 1"), std::string::npos);
  bad.row(2)[1] = 0;
  bad.row(1)[1] = -1;
  EXPECT_EQ(status_of(bad, 0.01).code(), ErrorCode::kBadInput);
  Matrix hopeless(2, 2);
  hopeless.values = {1, 50, 50, 1};
  EXPECT_EQ(status_of(hopeless, 0.01).code(), ErrorCode::kBadInput);
}

TEST(OutputSquare, EqualsADirectSum) {
  for (const std::int64_t n : {1, 70, 300}) {
    const Matrix hessian = random_hessian(n, 2 * n, 13), rows = random_weights(150, n, 14);
    double expected = 0, size = 0;
    for (std::int64_t r = 0; r < rows.n_rows; ++r) {
      expected += quadratic_form(rows.row(r), hessian);
      // |x| |H| |x|: what the roundings of the products are a share of.
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          size += std::fabs(rows.row(r)[i] * hessian.row(i)[j] * rows.row(r)[j]);
        }
      }
    }
    const double slack = 6e-8 * static_cast<double>(n + 8) * size;
    for (const int n_threads : {1, 3}) {
      ThreadPool pool(n_threads);
      EXPECT_NEAR(output_square(rows, hessian, pool), expected, slack);
      const HessianFactor factor = factor_of(hessian, 0.01, ColumnOrder::kByDiagonal);
      EXPECT_NEAR(output_square(rows, factor, pool), expected, 2 * slack);
    }
  }
}

}  // namespace
}  // namespace cria

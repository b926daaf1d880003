// Edits keep the meaning: what the edited weight makes of the edited input is the edited output.
#include "quantize/weight_edit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace cria {
namespace {

using Kind = WeightEdit::Kind;

std::shared_ptr<const std::vector<float>> share(std::vector<float> vector) {
  return std::make_shared<const std::vector<float>>(std::move(vector));
}

Matrix random_matrix(std::int64_t n_rows, std::int64_t n_cols, std::mt19937& random) {
  Matrix m(n_rows, n_cols);
  std::normal_distribution<float> normal;
  for (float& value : m.values) value = normal(random);
  return m;
}

std::vector<float> random_factors(std::int64_t n, std::mt19937& random) {
  std::vector<float> factors(n);
  for (float& factor : factors) factor = 0.25f + static_cast<float>(random() % 1000) / 500;
  return factors;
}

// y = W x in double, for the columns of X.
std::vector<std::vector<double>> multiply(const Matrix& w, const Matrix& x) {
  std::vector<std::vector<double>> y(w.n_rows, std::vector<double>(x.n_rows));
  for (std::int64_t r = 0; r < w.n_rows; ++r) {
    for (std::int64_t t = 0; t < x.n_rows; ++t) {
      for (std::int64_t c = 0; c < w.n_cols; ++c) y[r][t] += double{w.row(r)[c]} * x.row(t)[c];
    }
  }
  return y;
}

Matrix second_moments(const Matrix& x) {
  Matrix h(x.n_cols, x.n_cols);
  for (std::int64_t i = 0; i < x.n_cols; ++i) {
    for (std::int64_t j = 0; j < x.n_cols; ++j) {
      double sum = 0;
      for (std::int64_t t = 0; t < x.n_rows; ++t) sum += double{x.row(t)[i]} * x.row(t)[j];
      h.row(i)[j] = static_cast<float>(sum / static_cast<double>(x.n_rows));
    }
  }
  return h;
}

// The edited input, for rows of X: what a changed norm or an op online brings.
Matrix edited_input(const WeightEdits& edits, Matrix x, ThreadPool& pool) {
  for (const WeightEdit& edit : edits) {
    if (edit.kind == Kind::kScaleColumns) {
      std::vector<float> inverses;
      for (float factor : *edit.vector) inverses.push_back(1 / factor);
      apply_edits({{Kind::kScaleColumns, share(inverses), 0}}, 0, x, pool);
    } else if (edit.kind == Kind::kRotateColumns) {
      apply_edits({edit}, 0, x, pool);
    }
  }
  return x;
}

WeightEdits column_edits(std::int64_t n, std::mt19937& random) {
  return {{Kind::kScaleColumns, share(random_factors(n, random)), 0},
          {Kind::kRotateColumns, share(random_signs("a", n)), rotation_block(n)},
          {Kind::kScaleColumns, share(random_factors(n, random)), 0},
          {Kind::kRotateColumns, share(random_signs("b", n)), 4}};
}

constexpr std::int64_t kRows = 24, kCols = 48, kTokens = 60;

// 2 rotations of up to 16 and 2 scales on either side: some 30 roundings of numbers around 1, and
// sums of 48 of their products.
TEST(WeightEdit, ColumnsTurnAgainstTheInput) {
  std::mt19937 random(1);
  ThreadPool pool(2);
  const Matrix w = random_matrix(kRows, kCols, random);
  const Matrix x = random_matrix(kTokens, kCols, random);
  const WeightEdits edits = column_edits(kCols, random);
  Matrix changed = w;
  apply_edits(edits, 0, changed, pool);
  EXPECT_NE(changed.values, w.values);
  const auto expected = multiply(w, x);
  const auto found = multiply(changed, edited_input(edits, x, pool));
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t t = 0; t < kTokens; ++t) {
      EXPECT_NEAR(expected[r][t], found[r][t], 48 * 30 * 0x1p-24 * 4);
    }
  }
}

// Rotating rows is rotating the columns of the transpose, bit for bit.
TEST(WeightEdit, RowsAreTheColumnsOfTheTranspose) {
  std::mt19937 random(2);
  ThreadPool pool(2);
  Matrix w = random_matrix(kRows, kCols, random);
  Matrix transposed(kCols, kRows);
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t c = 0; c < kCols; ++c) transposed.row(c)[r] = w.row(r)[c];
  }
  const auto factors = share(random_factors(kRows, random));
  const auto signs = share(random_signs("rows", kRows));
  apply_edits({{Kind::kScaleRows, factors, 0}, {Kind::kRotateRows, signs, 8}}, 0, w, pool);
  apply_edits({{Kind::kScaleColumns, factors, 0}, {Kind::kRotateColumns, signs, 8}}, 0, transposed,
              pool);
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t c = 0; c < kCols; ++c) EXPECT_EQ(transposed.row(c)[r], w.row(r)[c]);
  }
}

TEST(WeightEdit, CutsAndThreadsDoNotShow) {
  std::mt19937 random(3);
  ThreadPool one(1), four(4);
  const Matrix w = random_matrix(kRows, 200, random);
  WeightEdits edits = column_edits(200, random);
  edits.push_back({Kind::kScaleRows, share(random_factors(kRows, random)), 0});
  edits.push_back({Kind::kRotateRows, share(random_signs("rows", kRows)), 8});
  EXPECT_EQ(row_granularity(edits), 8);
  Matrix whole = w;
  apply_edits(edits, 0, whole, four);
  for (std::int64_t first = 0; first < kRows; first += 8) {
    Matrix part(8, 200);
    std::copy_n(w.row(first).begin(), 8 * 200, part.values.begin());
    apply_edits(edits, first, part, one);
    EXPECT_TRUE(std::equal(part.values.begin(), part.values.end(), whole.row(first).begin()));
  }
}

// Each of four edits rounds an entry a dozen times at most, with sums of 16 x 16 entries whose
// scales are up to 9^2 apart (the factors are 0.25 to 2.25): 4 * 12 * 2^-24 * 81 is 2.3e-4 at
// worst, and errors of both signs stay well below.
TEST(WeightEdit, HessiansFollow) {
  std::mt19937 random(4);
  ThreadPool pool(2);
  const Matrix x = random_matrix(kTokens, kCols, random);
  const WeightEdits edits = column_edits(kCols, random);
  Matrix hessian = second_moments(x);
  edit_hessian(edits, hessian, pool);
  const Matrix expected = second_moments(edited_input(edits, x, pool));
  for (std::int64_t i = 0; i < kCols; ++i) {
    for (std::int64_t j = 0; j < kCols; ++j) {
      const double size = std::sqrt(double{expected.row(i)[i]} * expected.row(j)[j]);
      EXPECT_NEAR(hessian.row(i)[j], expected.row(i)[j], 1e-4 * size);
      EXPECT_EQ(hessian.row(i)[j], hessian.row(j)[i]);
    }
  }
}

TEST(WeightEdit, StatisticsFollowScalesAndAverageRotations) {
  InputStatistics statistics;
  statistics.mean_square = {4, 4, 1, 0};
  statistics.mean_absolute = {1, 2, 1, 0};
  edit_statistics({{Kind::kScaleColumns, share({2, -1, 0, 1}), 0}}, statistics);
  EXPECT_EQ(statistics.mean_square, (std::vector<float>{1, 4, 0, 0}));
  EXPECT_EQ(statistics.mean_absolute, (std::vector<float>{0.5f, 2, 0, 0}));
  edit_statistics({{Kind::kRotateColumns, share({1, 1, 1, 1}), 2}}, statistics);
  EXPECT_EQ(statistics.mean_square, (std::vector<float>{2.5f, 2.5f, 0, 0}));
}

TEST(WeightEdit, AColumnScaledByNothingCountsNothing) {
  ThreadPool pool(1);
  Matrix hessian(2, 2);
  hessian.values = {4, 2, 2, 9};
  edit_hessian({{Kind::kScaleColumns, share({2, 0}), 0}}, hessian, pool);
  EXPECT_EQ(hessian.values, (std::vector<float>{1, 0, 0, 0}));
}

TEST(RandomSigns, AreFixedByNameAndBalanced) {
  const std::vector<float> a = random_signs("a", 4096);
  EXPECT_EQ(a, random_signs("a", 4096));
  EXPECT_NE(a, random_signs("b", 4096));
  double sum = 0;
  for (float sign : a) {
    EXPECT_EQ(std::fabs(sign), 1);
    sum += sign;
  }
  EXPECT_LT(std::fabs(sum), 5 * 64);  // five standard deviations
}

TEST(RotationBlock, IsThePowerOfTwoInTheWidth) {
  EXPECT_EQ(rotation_block(2048), 2048);
  EXPECT_EQ(rotation_block(3072), 1024);
  EXPECT_EQ(rotation_block(172), 4);
  EXPECT_EQ(rotation_block(7), 1);
}

}  // namespace
}  // namespace cria

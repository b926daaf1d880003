#include "quantize/clip.h"

#include <gtest/gtest.h>

#include "quantize/hessian_for_test.h"
#include "quantize/rounding.h"

namespace cria {
namespace {

// w - Q(w) of one row, in the squares that `moments` knows.
double error_of(std::span<const float> row, const RowCodes& codes, const Matrix& hessian) {
  std::vector<float> errors(row.size());
  decode_codes(codes, errors);
  for (std::size_t c = 0; c < row.size(); ++c) errors[c] = row[c] - errors[c];
  return quadratic_form(errors, hessian);
}

// The squares of `width` columns along the diagonal alone.
Matrix squares_of(Matrix hessian, std::int64_t width) {
  for (std::int64_t i = 0; i < hessian.n_rows; ++i) {
    for (std::int64_t j = 0; j < hessian.n_cols; ++j) {
      if (i / width != j / width) hessian.row(i)[j] = 0;
    }
  }
  return hessian;
}

TEST(BlockMoments, AreSquaresAlongTheDiagonal) {
  const Matrix hessian = random_hessian(100, 150, 1), errors = random_weights(1, 100, 2);
  for (const int block : {1, 32, 64}) {
    const BlockMoments moments(hessian, block);
    double sum = 0;
    for (std::int64_t first = 0; first < 100; first += block) {
      sum += moments.square_of(
          first, errors.row(0).subspan(first, std::min<std::int64_t>(block, 100 - first)));
    }
    const double expected = quadratic_form(errors.row(0), squares_of(hessian, block));
    EXPECT_NEAR(sum, expected, 1e-4 * expected) << block;
  }
  EXPECT_EQ(BlockMoments(random_hessian(256, 10, 3), 1 << 20).width(), BlockMoments::kWidest);
}

TEST(Clip, IsNeverWorseInTheOutput) {
  const Matrix weights = random_weights(24, 512, 4), hessian = random_hessian(512, 200, 5);
  for (const Encoding encoding :
       {Encoding::kQ4, Encoding::kQ3, Encoding::kQ4Min, Encoding::kQ4KMin, Encoding::kMxfp4,
        encoding_with_block(Encoding::kQ4, 128).value()}) {
    const int block = encoding_spec(encoding).block;
    const BlockMoments moments(hessian, block);
    const Matrix squares = squares_of(hessian, block);
    double before = 0, after = 0;
    for (std::int64_t r = 0; r < weights.n_rows; ++r) {
      RowCodes plain(encoding, 512), clipped(encoding, 512);
      ASSERT_TRUE(quantize_row(weights.row(r), plain).ok());
      const Result<QuantizeError> error =
          quantize_clipped_row(weights.row(r), {}, moments, clipped);
      ASSERT_TRUE(error.ok()) << error.status().message();
      std::vector<float> decoded(512);
      decode_codes(clipped, decoded);
      EXPECT_EQ(error->error_sum, measure_error(weights.row(r), decoded).error_sum);
      const double own = error_of(weights.row(r), plain, squares);
      const double cut = error_of(weights.row(r), clipped, squares);
      EXPECT_LE(cut, own * (1 + 1e-4));
      before += own;
      after += cut;
    }
    EXPECT_LT(after, 0.98 * before) << encoding_spec(encoding).name;
  }
}

// A weight that nothing ever reads is cut, and the others round better.
TEST(Clip, CutsWhatDoesNotMatter) {
  Matrix weights = random_weights(1, 32, 6);
  weights.row(0)[7] = 0.09f;
  std::vector<float> squares(32, 1.0f);
  squares[7] = 0;
  RowCodes plain(Encoding::kQ4, 32), clipped(Encoding::kQ4, 32);
  ASSERT_TRUE(quantize_row(weights.row(0), plain).ok());
  ASSERT_TRUE(quantize_clipped_row(weights.row(0), {}, BlockMoments(squares), clipped).ok());
  std::vector<float> of_plain(32), of_clipped(32);
  decode_codes(plain, of_plain);
  decode_codes(clipped, of_clipped);
  EXPECT_LT(of_clipped[7], of_plain[7]);
}

TEST(Clip, RefusesWhatRoundingRefuses) {
  std::vector<float> row(64, 0.5f), squares(64, 1.0f);
  row[40] = INFINITY;
  RowCodes codes(Encoding::kQ4, 64);
  const Status status = quantize_clipped_row(row, {}, BlockMoments(squares), codes).status();
  EXPECT_EQ(status.code(), ErrorCode::kBadInput);
  EXPECT_NE(status.message().find("column 40"), std::string::npos);
}

TEST(Clip, RoundMatrixUsesIt) {
  const Matrix weights = random_weights(40, 128, 7), hessian = random_hessian(128, 100, 8);
  const BlockMoments moments(hessian, 32);
  RoundingRequest request;
  request.hessian = &hessian;
  ThreadPool pool(2);
  const Result<RoundedMatrix> plain = round_matrix(weights, request, pool);
  request.clip = &moments;
  const Result<RoundedMatrix> clipped = round_matrix(weights, request, pool);
  ASSERT_TRUE(plain.ok() && clipped.ok());
  RowCodes row(Encoding::kQ4, 128);
  ASSERT_TRUE(quantize_clipped_row(weights.row(3), {}, moments, row).ok());
  EXPECT_EQ(clipped->rows[3].codes, row.codes);
  EXPECT_LT(clipped->output_error, plain->output_error);
}

}  // namespace
}  // namespace cria

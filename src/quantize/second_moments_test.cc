#include "quantize/second_moments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

#include "base/cpu_features.h"
#include "format/statistics/statistics_builder.h"
#include "format/statistics/statistics_file.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

std::vector<float> random_rows(std::int64_t n, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<std::size_t>(n));
  for (float& x : rows) x = normal(random) * std::exp2(4 * normal(random));
  return rows;
}

TEST(ProductTile, IsTheSameOnEveryInstructionSet) {
  for (const std::int64_t n_tokens : {1, 2, 7, 512}) {
    AlignedBuffer memory = *AlignedBuffer::allocate(2 * 512 * 8 * sizeof(double));
    auto* a = reinterpret_cast<double*>(memory.data());
    double* b = a + 512 * 8;
    const std::vector<float> x = random_rows(2 * 512 * 8, 1);
    std::copy(x.begin(), x.end(), a);
    double expected[64], found[64];
    product_tile_generic(a, b, n_tokens, expected);
#ifdef CRIA_HAVE_AVX2
    if (cpu_supports(Isa::kAvx2)) {
      product_tile_avx2(a, b, n_tokens, found);
      for (int i = 0; i < 64; ++i) EXPECT_EQ(found[i], expected[i]);
    }
#endif
#ifdef CRIA_HAVE_AVX512VNNI
    if (cpu_supports(Isa::kAvx512Vnni)) {
      product_tile_avx512(a, b, n_tokens, found);
      for (int i = 0; i < 64; ++i) EXPECT_EQ(found[i], expected[i]);
    }
#endif
    static_cast<void>(found);
  }
}

// Against the builder, which sums as plainly as it can.
TEST(SecondMoments, EqualThePlainSumsForAnyBlockAndThreads) {
  constexpr std::int64_t kWindows = 3, kTokens = 11;
  for (const std::int64_t n_cols : {1, 8, 13, 64, 131}) {
    const std::vector<float> x = random_rows(kWindows * kTokens * n_cols, 2);
    StatisticsBuilder builder(kTokens);
    builder.input("output_in", n_cols);
    for (std::int64_t w = 0; w < kWindows; ++w) {
      const auto first = x.begin() + w * kTokens * n_cols;
      builder.window({{"output_in", {first, first + kTokens * n_cols}}});
    }
    const std::string file = builder.bytes();
    auto expected = StatisticsView::create(std::as_bytes(std::span(file)), "s");
    ASSERT_TRUE(expected.ok()) << expected.status().message();
    const WindowRows rows{x.data(), kWindows, kTokens, n_cols};
    for (const int n_threads : {1, 3}) {
      ThreadPool pool(n_threads);
      std::vector<FixedSum> squares(static_cast<std::size_t>(n_cols)), absolutes(squares);
      ASSERT_TRUE(add_column_sums(rows, squares, absolutes, pool).ok());
      EXPECT_TRUE(std::ranges::equal(squares, expected->squares(0)));
      EXPECT_TRUE(std::ranges::equal(absolutes, expected->absolutes(0)));
      PackedWindows packed;
      ASSERT_TRUE(packed.pack(rows, pool).ok());
      for (const std::int64_t block : {8, 64}) {
        std::vector<std::int64_t> triangle(static_cast<std::size_t>(triangle_row(n_cols, n_cols)));
        for (std::int64_t row = 0; row < n_cols; row += block) {
          const std::int64_t n = std::min(block, n_cols - row);
          const auto at = static_cast<std::size_t>(triangle_row(n_cols, row));
          const auto size = static_cast<std::size_t>(triangle_row(n_cols, row + n)) - at;
          ASSERT_TRUE(
              add_products(packed, row, n, std::span(triangle).subspan(at, size), pool).ok());
        }
        EXPECT_TRUE(std::ranges::equal(triangle, expected->triangle(0))) << n_cols;
      }
    }
  }
}

TEST(SecondMoments, RefuseWhatCannotBeHeld) {
  ThreadPool pool(1);
  for (const float wrong : {46341.0f, std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
    const std::vector<float> x = {1, 2, 3, wrong};
    std::vector<FixedSum> squares(2), absolutes(2);
    const Status status = add_column_sums({x.data(), 1, 2, 2}, squares, absolutes, pool);
    EXPECT_EQ(status.code(), ErrorCode::kBadInput);
    EXPECT_THAT(status.message(), HasSubstr("column 1: the squares of a window"));
  }
  const std::vector<float> x(8, 46340);
  PackedWindows packed;
  ASSERT_TRUE(packed.pack({x.data(), 8, 1, 1}, pool).ok());
  std::int64_t entry = kLargestProduct - (std::int64_t{1} << 53);
  EXPECT_THAT(add_products(packed, 0, 1, {&entry, 1}, pool).message(),
              HasSubstr("column 0: the squares of all windows"));
}

}  // namespace
}  // namespace cria

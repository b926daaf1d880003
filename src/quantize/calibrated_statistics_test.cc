#include "quantize/calibrated_statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "format/statistics/fixed_point.h"
#include "format/statistics/statistics_builder.h"

namespace cria {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CalibratedStatisticsTest : public ::testing::Test {
 protected:
  ~CalibratedStatisticsTest() override { std::filesystem::remove(path_); }

  Result<std::unique_ptr<Statistics>> open(const StatisticsBuilder& builder) {
    std::ofstream(path_, std::ios::binary) << builder.bytes();
    return open_statistics(path_, fingerprint_for_test());
  }

  std::string path_ =
      std::filesystem::temp_directory_path() / fmt::format("statistics{}", getpid());
};

TEST_F(CalibratedStatisticsTest, GivesWhatWasCountedByHand) {
  // Two windows of one token each: (1, 2, -3) and (-4, 0, 0.5).
  StatisticsBuilder builder(1);
  builder.input("blk.1.attn_in", 3).input("output_in", 3);
  builder.window({{"blk.1.attn_in", {1, 2, -3}}, {"output_in", {1, 0, 0}}});
  builder.window({{"blk.1.attn_in", {-4, 0, 0.5f}}, {"output_in", {0, 2, 0}}});
  auto statistics = open(builder);
  ASSERT_TRUE(statistics.ok()) << statistics.status().message();
  for (const char* name : {"attn_q", "attn_k", "attn_v"}) {
    const std::string weight = fmt::format("blk.1.{}.weight", name);
    auto input = (*statistics)->input_of(weight);
    ASSERT_TRUE(input.ok()) << input.status().message();
    EXPECT_EQ(input->n_tokens, 2);
    EXPECT_THAT(input->mean_square, ElementsAre(8.5f, 2.0f, 4.625f));
    EXPECT_THAT(input->mean_absolute, ElementsAre(2.5f, 1.0f, 1.75f));
    EXPECT_TRUE(input->has_hessian);
    auto hessian = (*statistics)->hessian_of(weight);
    ASSERT_TRUE(hessian.ok()) << hessian.status().message();
    EXPECT_THAT(hessian->values,
                ElementsAre(8.5f, 1.0f, -2.5f, 1.0f, 2.0f, -3.0f, -2.5f, -3.0f, 4.625f));
  }
  EXPECT_THAT((*statistics)->input_of("output.weight")->mean_square, ElementsAre(0.5f, 2.0f, 0.0f));
  const Status missing = (*statistics)->input_of("blk.0.ffn_up.weight").status();
  EXPECT_EQ(missing.code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("blk.0.ffn_up.weight"));
}

TEST_F(CalibratedStatisticsTest, TheHessianIsSymmetricAndItsDiagonalTheMeanSquare) {
  constexpr std::int64_t kTokens = 9, kCols = 150;
  constexpr int kWindows = 7;
  StatisticsBuilder builder(kTokens);
  builder.input("blk.0.ffn_active", kCols);
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  for (int w = 0; w < kWindows; ++w) {
    std::vector<float> rows(kTokens * kCols);
    for (float& x : rows) x = normal(random);
    builder.window({{"blk.0.ffn_active", rows}});
  }
  auto statistics = open(builder);
  ASSERT_TRUE(statistics.ok()) << statistics.status().message();
  auto hessian = (*statistics)->hessian_of("blk.0.ffn_down.weight");
  ASSERT_TRUE(hessian.ok()) << hessian.status().message();
  const std::vector<float> mean_square =
      (*statistics)->input_of("blk.0.ffn_down.weight")->mean_square;
  for (std::int64_t i = 0; i < kCols; ++i) {
    // Each window's sum is rounded to a multiple of 2^-20, and both become floats.
    const float expected = mean_square[static_cast<std::size_t>(i)];
    EXPECT_NEAR(hessian->row(i)[static_cast<std::size_t>(i)], expected,
                0x1p-21 / kTokens + 0x1p-23 * expected);
    for (std::int64_t j = 0; j < i; ++j) {
      EXPECT_EQ(hessian->row(i)[static_cast<std::size_t>(j)],
                hessian->row(j)[static_cast<std::size_t>(i)]);
    }
  }
}

TEST_F(CalibratedStatisticsTest, RefusesAnotherModelAndMissingHessians) {
  StatisticsBuilder builder(1, false);
  builder.input("output_in", 1).window({{"output_in", {1}}});
  auto statistics = open(builder);
  ASSERT_TRUE(statistics.ok());
  EXPECT_FALSE((*statistics)->input_of("output.weight")->has_hessian);
  EXPECT_THAT((*statistics)->hessian_of("output.weight").status().message(),
              HasSubstr("--no-hessian"));
  ModelFingerprint other = fingerprint_for_test();
  other.n_layers = 3;
  const Status refused = open_statistics(path_, other).status();
  EXPECT_EQ(refused.code(), ErrorCode::kBadInput);
  EXPECT_THAT(refused.message(), HasSubstr("another model: n_layers is 2, expected 3"));
}

}  // namespace
}  // namespace cria

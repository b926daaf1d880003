#include "format/statistics/statistics_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "format/statistics/input_names.h"
#include "format/statistics/statistics_builder.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> as_bytes(const std::string& file) {
  return std::as_bytes(std::span(file));
}

std::string error_of(const std::string& file) {
  auto view = StatisticsView::create(as_bytes(file), "s");
  return view.ok() ? "no error" : view.status().message();
}

// Two tokens, three columns: (1, 2, 3), (-4, 0.5, 0).
std::string small_file(bool with_hessian = true) {
  return StatisticsBuilder(2, with_hessian)
      .input("blk.0.attn_in", 3)
      .window({{"blk.0.attn_in", {1, 2, 3, -4, 0.5f, 0}}})
      .bytes();
}

TEST(FixedPoint, ConvertsThereAndBack) {
  for (const double value : {0.0, 1.0, 0.375, 1e-12, 123456.789, 0x1p61, 0x1p-64}) {
    EXPECT_NEAR(to_double(to_fixed_sum(value)), value, 0x1p-64);
  }
  EXPECT_EQ(to_fixed_product(1.0), 1 << 20);
  EXPECT_EQ(to_fixed_product(-2147483647.0), -(std::int64_t{2147483647} << 20));
  EXPECT_EQ(to_fixed_product(0x1p-21), 0);  // half a unit: to even
  EXPECT_EQ(to_fixed_product(0x1.8p-20), 2);
}

TEST(FixedPoint, SumsAreExactWhereDoublesAreNot) {
  FixedSum sum = to_fixed_sum(0x1p40);
  for (int i = 0; i < 1024; ++i) EXPECT_TRUE(add_to(sum, to_fixed_sum(0x1p-64)));
  EXPECT_EQ(sum, (FixedSum{1024, std::uint64_t{1} << 40}));
  FixedSum carried{~std::uint64_t{0}, 0};
  EXPECT_TRUE(add_to(carried, {1, 0}));
  EXPECT_EQ(carried, (FixedSum{0, 1}));
  FixedSum large{0, (std::uint64_t{1} << 63) - 1};
  EXPECT_FALSE(add_to(large, {0, 1}));
}

TEST(StatisticsFile, HoldsWhatWasCountedByHand) {
  const std::string file = small_file();
  auto view = StatisticsView::create(as_bytes(file), "s");
  ASSERT_TRUE(view.ok()) << view.status().message();
  EXPECT_EQ(view->header().n_tokens(), 2);
  EXPECT_EQ(view->header().n_windows(), 1);
  ASSERT_EQ(view->find("blk.0.attn_in"), 0);
  EXPECT_EQ(view->find("blk.1.attn_in"), -1);
  const double squares[] = {17, 4.25, 9}, absolutes[] = {5, 2.5, 3};
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_EQ(to_double(view->squares(0)[c]), squares[c]);
    EXPECT_EQ(to_double(view->absolutes(0)[c]), absolutes[c]);
  }
  // Rows (0,0) (0,1) (0,2) (1,1) (1,2) (2,2).
  const double products[] = {17, 0, 3, 4.25, 6, 9};
  ASSERT_EQ(view->triangle(0).size(), 6U);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(product_to_double(view->triangle(0)[i]), products[i]);
  }
  EXPECT_TRUE(view->check_triangle(0, "s").ok());
}

TEST(StatisticsFile, WithoutHessiansItEndsAfterTheSums) {
  const std::string file = small_file(false);
  auto view = StatisticsView::create(as_bytes(file), "s");
  ASSERT_TRUE(view.ok()) << view.status().message();
  EXPECT_TRUE(view->triangle(0).empty());
  EXPECT_LT(file.size(), 1024U);
}

TEST(StatisticsFile, SaysWhatIsWrong) {
  std::string file = small_file();
  EXPECT_THAT(error_of(""), HasSubstr("the magic at byte 0 needs 8 bytes, 0 are left"));
  EXPECT_THAT(error_of("hello hello hello"), HasSubstr("no statistics of cria calibrate"));
  EXPECT_THAT(error_of(file.substr(0, file.size() - 1)), HasSubstr("not a whole file"));
  EXPECT_THAT(error_of(file + "x"), HasSubstr("not a whole file"));
  std::string newer = file;
  newer[8] = 9;
  EXPECT_THAT(error_of(newer), HasSubstr("version 9, this build reads version 1"));
  std::string layers = file;
  layers[40] = 0;
  EXPECT_THAT(error_of(layers), HasSubstr("n_layers is 0, expected 1 to 1024"));
  auto view = StatisticsView::create(as_bytes(file), "s");
  ASSERT_TRUE(view.ok());
  std::string sums = file;
  sums[view->layout().sums[0] + 1] ^= 1;
  EXPECT_THAT(error_of(sums), HasSubstr("damaged: the sums of \"blk.0.attn_in\""));
  std::string triangle = file;
  triangle[view->layout().triangles[0] + 9] ^= 1;
  auto damaged = StatisticsView::create(as_bytes(triangle), "s");
  ASSERT_TRUE(damaged.ok());
  EXPECT_THAT(damaged->check_triangle(0, "s").message(), HasSubstr("the Hessian of"));
}

TEST(StatisticsFile, SaysWhatDiffersBetweenModels) {
  const ModelFingerprint model = fingerprint_for_test();
  EXPECT_EQ(describe_difference(model, model), "");
  ModelFingerprint other = model;
  other.ffn = 48;
  EXPECT_EQ(describe_difference(other, model), "ffn is 48, expected 32");
  other = model;
  other.weight_hashes[1] ^= 1;
  EXPECT_THAT(describe_difference(other, model), HasSubstr("weights of layer 1 differ"));
  other = model;
  other.weight_hashes[2] ^= 1;
  EXPECT_THAT(describe_difference(other, model), HasSubstr("the embedding or the head"));
}

TEST(InputNames, MapLinearsToWhatTheyRead) {
  EXPECT_EQ(*input_of_weight("blk.3.attn_q.weight"), "blk.3.attn_in");
  EXPECT_EQ(*input_of_weight("blk.3.attn_k.weight"), "blk.3.attn_in");
  EXPECT_EQ(*input_of_weight("blk.13.attn_v.weight"), "blk.13.attn_in");
  EXPECT_EQ(*input_of_weight("blk.0.attn_output.weight"), "blk.0.attn_mixed");
  EXPECT_EQ(*input_of_weight("blk.0.ffn_gate.weight"), "blk.0.ffn_in");
  EXPECT_EQ(*input_of_weight("blk.0.ffn_up.weight"), "blk.0.ffn_in");
  EXPECT_EQ(*input_of_weight("blk.0.ffn_down.weight"), "blk.0.ffn_active");
  EXPECT_EQ(*input_of_weight("output.weight"), "output_in");
  EXPECT_EQ(*input_of_weight("token_embd.weight"), "output_in");
  for (const char* wrong :
       {"", "blk.", "blk.3", "blk..weight", "blk.x.attn_q.weight", "blk.3.weight",
        "blk.3.attn_norm.weight", "attn_q.weight", "blk.3.attn_q", "blk.weight"}) {
    EXPECT_EQ(input_of_weight(wrong).status().code(), ErrorCode::kNotFound) << wrong;
  }
}

TEST(TextRanges, AreJoinedAndNeverCountedTwice) {
  auto joined = join_ranges({{7, 10, 5}, {3, 0, 2}, {7, 0, 10}, {7, 20, 1}});
  ASSERT_TRUE(joined.ok());
  EXPECT_EQ(*joined, (std::vector<TextRange>{{3, 0, 2}, {7, 0, 15}, {7, 20, 1}}));
  EXPECT_THAT(join_ranges({{7, 0, 10}, {7, 9, 5}}).status().message(),
              HasSubstr("window 9 of the text 0000000000000007 would be counted twice"));
}

}  // namespace
}  // namespace cria

#include "quantize/recipe.h"

#include <gtest/gtest.h>

namespace cria {
namespace {

TEST(Recipe, EveryNameInTheSummariesExists) {
  EXPECT_GE(recipe_summaries().size(), 10u);
  for (const RecipeSummary& summary : recipe_summaries()) {
    const Result<Recipe> recipe = Recipe::from_name(summary.name);
    ASSERT_TRUE(recipe.ok()) << summary.name;
    EXPECT_EQ(recipe->name(), summary.name);
  }
}

TEST(Recipe, SourceKeepsTheNativeEncoding) {
  const Result<Recipe> recipe = Recipe::from_name("source");
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(recipe->encoding_for("blk.0.attn_q.weight", StorageType::kQ4_K), Encoding::kQ4KMin);
  EXPECT_EQ(recipe->encoding_for("token_embd.weight", StorageType::kQ6_K), Encoding::kQ6K);
  EXPECT_EQ(recipe->encoding_for("output.weight", StorageType::kBF16), Encoding::kBF16);
}

TEST(Recipe, Q4KeepsEmbeddingAndHeadIn8Bits) {
  const Result<Recipe> recipe = Recipe::from_name("q4");
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(recipe->encoding_for("blk.0.attn_q.weight", StorageType::kF16), Encoding::kQ4Nl);
  EXPECT_EQ(recipe->encoding_for("token_embd.weight", StorageType::kF16), Encoding::kQ8);
  EXPECT_EQ(recipe->encoding_for("output.weight", StorageType::kF16), Encoding::kQ8);
}

TEST(Recipe, TwoLevelRecipesKeepEmbeddingAndHeadIn6Bits) {
  for (const auto& [name, linear] : {std::pair{"iq4_xs", Encoding::kQ4NlK},
                                     {"q4_k", Encoding::kQ4KMin},
                                     {"q3_k", Encoding::kQ3K},
                                     {"q2_k", Encoding::kQ2KMin}}) {
    const Result<Recipe> recipe = Recipe::from_name(name);
    ASSERT_TRUE(recipe.ok()) << name;
    EXPECT_EQ(recipe->encoding_for("blk.0.ffn_up.weight", StorageType::kF16), linear) << name;
    EXPECT_EQ(recipe->encoding_for("output.weight", StorageType::kF16), Encoding::kQ6K) << name;
  }
}

TEST(Recipe, AnUnknownNameListsTheKnownOnes) {
  const Result<Recipe> recipe = Recipe::from_name("q7");
  ASSERT_FALSE(recipe.ok());
  EXPECT_EQ(recipe.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(recipe.status().message().find("'q7'"), std::string::npos);
  EXPECT_NE(recipe.status().message().find("source, f32, f16"), std::string::npos);
}

}  // namespace
}  // namespace cria

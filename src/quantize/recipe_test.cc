#include "quantize/recipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

namespace cria {
namespace {

TEST(Recipe, EveryNameInTheSummariesExists) {
  EXPECT_GE(recipe_summaries().size(), 10u);
  for (const RecipeSummary& summary : recipe_summaries()) {
    const Result<Recipe> recipe = Recipe::from_name(summary.name);
    ASSERT_TRUE(recipe.ok()) << summary.name;
    EXPECT_EQ(recipe->name, summary.name);
  }
}

TEST(Recipe, SourceKeepsTheNativeEncoding) {
  const Result<Recipe> recipe = Recipe::from_name("source");
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(recipe->encoding_for("blk.0.attn_q.weight", Encoding::kQ4KMin), Encoding::kQ4KMin);
  EXPECT_EQ(recipe->encoding_for("token_embd.weight", Encoding::kQ6K), Encoding::kQ6K);
  EXPECT_EQ(recipe->encoding_for("output.weight", Encoding::kBF16), Encoding::kBF16);
}

TEST(Recipe, CodebooksOf4BitsKeepEmbeddingAndHeadIn8Bits) {
  const Result<Recipe> recipe = Recipe::from_name("iq4_nl");
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(recipe->encoding_for("blk.0.attn_q.weight", Encoding::kF16), Encoding::kQ4Nl);
  EXPECT_EQ(recipe->encoding_for("token_embd.weight", Encoding::kF16), Encoding::kQ8);
  EXPECT_EQ(recipe->encoding_for("output.weight", Encoding::kF16), Encoding::kQ8);
}

TEST(Recipe, TheDefaultsUseGptqWhereThereAreStatistics) {
  for (const char* name : {"q4", "q5", "q4+rotate"}) {
    Recipe recipe = *Recipe::from_name(name);
    EXPECT_FALSE(recipe.uses_statistics()) << name;
    recipe.adapt(false, {});
    EXPECT_FALSE(recipe.uses_statistics()) << name;
    recipe.adapt(true, {});
    EXPECT_EQ(recipe.linear.method, RoundingMethod::kGptq) << name;
    EXPECT_EQ(recipe.embedding.method, RoundingMethod::kNearest) << name;
    EXPECT_TRUE(recipe.embedding.importance) << name;
    EXPECT_EQ(recipe.adapted, "") << name;
  }
  Recipe named = *Recipe::from_name("q4+clip");
  named.adapt(true, {});
  EXPECT_EQ(named.linear.method, RoundingMethod::kNearest);
  EXPECT_FALSE(named.embedding.importance);
  Recipe other = *Recipe::from_name("q4_0");
  other.adapt(true, [](Encoding) { return false; });
  EXPECT_EQ(other.linear.method, RoundingMethod::kNearest);
  EXPECT_EQ(other.linear.encoding, Encoding::kQ4);
  EXPECT_FALSE(other.embedding.importance);
}

// Groups that devices take, and what the default becomes on them.
TEST(Recipe, TheDefaultHasBlocksThatTheDeviceTakes) {
  struct Case {
    std::vector<int> blocks;
    Encoding linear, keys, values, embedding;
    const char* adapted;
  };
  const Case cases[] = {
      {{32, 64, 128}, Encoding::kQ4NlK, Encoding::kQ5, Encoding::kQ5G128, Encoding::kQ6G128, ""},
      {{32, 64},
       Encoding::kQ4NlK,
       Encoding::kQ5,
       Encoding::kQ5G64,
       Encoding::kQ6G64,
       "q5g64 in place of q5g128, q6g64 in place of q6g128"},
      {{kPerChannel, 32},
       Encoding::kQ4NlK,
       Encoding::kQ5,
       Encoding::kQ5,
       Encoding::kQ6,
       "q5 in place of q5g128, q6 in place of q6g128"},
      {{kPerChannel, 64, 128},
       Encoding::kQ4NlG64,
       Encoding::kQ5G64,
       Encoding::kQ5G128,
       Encoding::kQ6G128,
       "q4nlg64 in place of q4nlk, q5g64 in place of q5"},
      {{128},
       Encoding::kQ4NlG128,
       Encoding::kQ5G128,
       Encoding::kQ5G128,
       Encoding::kQ6G128,
       "q4nlg128 in place of q4nlk, q5g128 in place of q5"},
      {{kPerChannel}, Encoding::kQ4NlK, Encoding::kQ5, Encoding::kQ5G128, Encoding::kQ6G128, ""},
  };
  for (const Case& c : cases) {
    Recipe recipe = *Recipe::from_name("q4");
    recipe.adapt(false, [&](Encoding encoding) {
      return std::ranges::find(c.blocks, encoding_spec(encoding).block) != c.blocks.end();
    });
    EXPECT_EQ(recipe.linear.encoding, c.linear) << c.adapted;
    EXPECT_EQ(recipe.keys, c.keys) << c.adapted;
    EXPECT_EQ(recipe.values, c.values) << c.adapted;
    EXPECT_EQ(recipe.embedding.encoding, c.embedding) << c.adapted;
    EXPECT_EQ(recipe.adapted, c.adapted);
  }
}

TEST(Recipe, TheDefaultOf4BitsGivesKeysAndValuesMore) {
  Recipe recipe = *Recipe::from_name("q4");
  recipe.adapt(true, {});
  for (const auto& [name, encoding] : {std::pair{"blk.7.attn_k.weight", Encoding::kQ5},
                                       {"blk.7.attn_q.weight", Encoding::kQ4NlK},
                                       {"blk.7.attn_v.weight", Encoding::kQ5G128}}) {
    const WeightRounding rounding = recipe.rounding_for(name, Encoding::kF16);
    EXPECT_EQ(rounding, (WeightRounding{encoding, RoundingMethod::kGptq})) << name;
  }
  EXPECT_EQ(recipe.rounding_for("output.weight", Encoding::kF16),
            (WeightRounding{Encoding::kQ6G128, RoundingMethod::kNearest, true}));
  for (const char* name : {"blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
    EXPECT_EQ(Recipe::from_name("q4_0")->encoding_for(name, Encoding::kF16), Encoding::kQ4);
  }
}

TEST(Recipe, EncodingsInWideBlocksAreRecipes) {
  for (const auto& [name, linear, embedding] :
       {std::tuple{"q4g64", Encoding::kQ4G64, Encoding::kQ8G64},
        {"q3ming128", Encoding::kQ3MinG128, Encoding::kQ8G128},
        {"q6c", Encoding::kQ6C, Encoding::kQ8C}}) {
    const Result<Recipe> recipe = Recipe::from_name(name);
    ASSERT_TRUE(recipe.ok()) << recipe.status().message();
    EXPECT_EQ(recipe->linear.encoding, linear) << name;
    EXPECT_EQ(recipe->embedding.encoding, embedding) << name;
  }
  // Names of encodings that no recipe has.
  for (const char* name : {"q4nlk", "q4s24", "q4min"}) {
    EXPECT_FALSE(Recipe::from_name(name).ok()) << name;
  }
}

TEST(Recipe, TwoLevelRecipesKeepEmbeddingAndHeadIn6Bits) {
  for (const auto& [name, linear] : {std::pair{"iq4_xs", Encoding::kQ4NlK},
                                     {"q4_k", Encoding::kQ4KMin},
                                     {"q3_k", Encoding::kQ3K},
                                     {"q2_k", Encoding::kQ2KMin}}) {
    const Result<Recipe> recipe = Recipe::from_name(name);
    ASSERT_TRUE(recipe.ok()) << name;
    EXPECT_EQ(recipe->encoding_for("blk.0.ffn_up.weight", Encoding::kF16), linear) << name;
    EXPECT_EQ(recipe->encoding_for("output.weight", Encoding::kF16), Encoding::kQ6K) << name;
  }
}

TEST(Recipe, AnUnknownNameListsTheKnownOnes) {
  const Result<Recipe> recipe = Recipe::from_name("q7");
  ASSERT_FALSE(recipe.ok());
  EXPECT_EQ(recipe.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(recipe.status().message().find("'q7'"), std::string::npos);
  EXPECT_NE(recipe.status().message().find("source, q4, q5, f32, f16"), std::string::npos);
}

TEST(Recipe, MethodsFollowTheName) {
  const Result<Recipe> recipe = Recipe::from_name("q4_0+rotate+gptq");
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->name, "q4_0+rotate+gptq");
  EXPECT_EQ(recipe->rounding_for("blk.0.attn_q.weight", Encoding::kF16),
            (WeightRounding{Encoding::kQ4, RoundingMethod::kGptq, false}));
  EXPECT_EQ(recipe->rounding_for("token_embd.weight", Encoding::kF16),
            (WeightRounding{.encoding = Encoding::kQ8}));
  EXPECT_EQ(recipe->transforms, (ModelTransforms{.rotate = true}));
  EXPECT_TRUE(recipe->uses_statistics());
  EXPECT_TRUE(recipe->uses_hessians());
}

TEST(Recipe, AwqScalesAndClips) {
  const Result<Recipe> recipe = Recipe::from_name("q4_0+awq");
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->transforms, (ModelTransforms{.awq = true}));
  EXPECT_EQ(recipe->linear, (WeightRounding{Encoding::kQ4, RoundingMethod::kNearest, true, true}));
  EXPECT_EQ(recipe->embedding, (WeightRounding{.encoding = Encoding::kQ8}));
  EXPECT_EQ(Recipe::from_name("q4_0+clip")->linear, recipe->linear);
}

TEST(Recipe, QuipIsRotationsOfEveryInputAndFeedback) {
  const Result<Recipe> recipe = Recipe::from_name("e8p2+quip");
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->rounding_for("blk.0.attn_q.weight", Encoding::kF16),
            (WeightRounding{Encoding::kE8P2, RoundingMethod::kGptq, false}));
  EXPECT_EQ(recipe->transforms, (ModelTransforms{.rotate = true, .rotate_inputs = true}));
}

TEST(Recipe, SaysWhichStatisticsItNeeds) {
  struct Case {
    const char* name;
    bool statistics, hessians;
  };
  for (const Case& c : {Case{"q4", false, false},
                        {"q4+rotate+fold", false, false},
                        {"q4+importance", true, false},
                        {"q4+awq", true, false},
                        {"q4+clip", true, false},
                        {"q4+awq+gptq", true, true},
                        {"q4+gptq", true, true},
                        {"e8p3", false, false},
                        {"e8p3+quip", true, true}}) {
    const Result<Recipe> recipe = Recipe::from_name(c.name);
    ASSERT_TRUE(recipe.ok()) << recipe.status().message();
    EXPECT_EQ(recipe->uses_statistics(), c.statistics) << c.name;
    EXPECT_EQ(recipe->uses_hessians(), c.hessians) << c.name;
  }
}

TEST(Recipe, SingleMatricesMayDiffer) {
  Result<Recipe> recipe = Recipe::from_name("source");
  ASSERT_TRUE(recipe.ok());
  const WeightRounding own{Encoding::kQ8, RoundingMethod::kGptq, true};
  recipe->overrides["blk.1.ffn_down.weight"] = own;
  EXPECT_EQ(recipe->rounding_for("blk.1.ffn_down.weight", Encoding::kF16), own);
  EXPECT_EQ(recipe->encoding_for("blk.0.ffn_down.weight", Encoding::kF16), Encoding::kF16);
  EXPECT_TRUE(recipe->uses_hessians());
}

TEST(Recipe, RefusesMethodsThatMakeNoSense) {
  struct Case {
    const char* name;
    const char* message;
  };
  for (const Case& c :
       {Case{"q4+magic", "method 'magic' does not exist, expected one of importance, gptq"},
        {"q4+", "method '' does not exist"},
        {"q4+gptq+gptq", "'gptq' is given twice"},
        {"source+rotate", "source keeps every tensor as it is"},
        {"e8p2+quip+awq", "expected one of them"},
        {"f16+gptq", "expected an encoding in blocks"},
        {"f32+awq", "expected an encoding in blocks"},
        {"q7+gptq", "recipe 'q7' does not exist"}}) {
    const Result<Recipe> recipe = Recipe::from_name(c.name);
    ASSERT_FALSE(recipe.ok()) << c.name;
    EXPECT_EQ(recipe.status().code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(recipe.status().message().find(c.message), std::string::npos)
        << recipe.status().message();
  }
}

}  // namespace
}  // namespace cria

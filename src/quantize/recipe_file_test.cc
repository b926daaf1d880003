#include "quantize/recipe_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cria {
namespace {

std::vector<std::string> names(int n_layers) {
  std::vector<std::string> list = {"token_embd.weight"};
  for (int i = 0; i < n_layers; ++i) {
    for (const char* tensor : {"attn_q", "attn_output", "ffn_up", "ffn_down"})
      list.push_back("blk." + std::to_string(i) + "." + tensor + ".weight");
  }
  return list;
}

Result<Recipe> recipe_of(std::string_view text, int n_layers = 12) {
  CRIA_ASSIGN_OR_RETURN(const RecipeFile file, parse_recipe_file(text, "r.toml"));
  return recipe_for(file, names(n_layers), n_layers, "r.toml");
}

Encoding encoding(const Recipe& recipe, const char* name) {
  return recipe.encoding_for(name, Encoding::kF16);
}

TEST(RecipeFile, LaterRulesWin) {
  const auto recipe = recipe_of(R"(
base = "q4_0"
[[rule]]
tensors = "ffn_*"
layers = [0, "2-4", -1]
encoding = "q8"
[[rule]]
tensors = "ffn_down"
encoding = "q6"
method = "gptq"
[[rule]]
tensors = "token_embd"
encoding = "q6k"
)");
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  for (const int layer : {0, 2, 3, 4, 11}) {
    const std::string name = "blk." + std::to_string(layer) + ".ffn_up.weight";
    EXPECT_EQ(encoding(*recipe, name.c_str()), Encoding::kQ8);
  }
  EXPECT_EQ(encoding(*recipe, "blk.1.ffn_up.weight"), Encoding::kQ4);
  EXPECT_EQ(encoding(*recipe, "blk.10.ffn_up.weight"), Encoding::kQ4);
  EXPECT_EQ(encoding(*recipe, "blk.0.ffn_down.weight"), Encoding::kQ6);
  EXPECT_EQ(encoding(*recipe, "blk.5.attn_q.weight"), Encoding::kQ4);
  EXPECT_EQ(encoding(*recipe, "token_embd.weight"), Encoding::kQ6K);
  EXPECT_TRUE(recipe->uses_hessians());
}

TEST(RecipeFile, PrintedAndParsedIsTheSame) {
  Recipe recipe = *Recipe::from_name("q4_0");
  recipe.overrides["blk.3.ffn_up.weight"] = {Encoding::kQ3K, RoundingMethod::kGptq, true};
  recipe.overrides["token_embd.weight"] = {Encoding::kQ6K, RoundingMethod::kNearest, false};
  // Layers that agree are one rule.
  for (const char* name : {"blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.5.attn_q.weight"}) {
    recipe.overrides[name] = {Encoding::kQ5, RoundingMethod::kNearest, false};
  }
  EXPECT_NE(recipe_file_text(recipe).find("layers = [\"0-1\", 5]\n"), std::string::npos)
      << recipe_file_text(recipe);
  const auto again = recipe_of(recipe_file_text(recipe));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->overrides, recipe.overrides);
  EXPECT_EQ(again->linear, recipe.linear);
}

struct BadFile {
  const char* text;
  const char* error;
};

TEST(RecipeFile, ErrorsSayWhere) {
  const std::string base = "base = \"q4_0\"\n[[rule]]\n";
  const BadFile files[] = {
      {"base = \"q4_0", "line 1"},
      {"", "'base' is missing"},
      {"base = 4", "'base' is no text"},
      {"base = \"q17\"", "recipe 'q17' does not exist"},
      {"base = \"q4_0\"\nrules = []", "key \"rules\" is not known"},
      {"tensors = 1\nencoding = \"q8\"", "rule 1: 'tensors' is no text"},
      {"tensors = \"ffn_up\"", "rule 1: changes nothing"},
      {"tensors = \"ffn_up\"\nencoding = \"q99\"", "encoding \"q99\" does not exist"},
      {"tensors = \"ffn_up\"\nmethod = \"luck\"", "method \"luck\" does not exist"},
      {"tensors = \"ffn_up\"\nimportance = 1", "neither true nor false"},
      {"tensors = \"ffn_up\"\nencoding = \"q8\"\nlayers = [\"4-2\"]", "expected \"first-last\""},
      {"tensors = \"ffn_up\"\nencoding = \"q8\"\nlayers = [1.5]", "neither a number nor a text"},
      {"tensors = \"ffn_up\"\nencoding = \"q8\"\nlayers = [99999999]", "out of range"},
      {"tensors = \"mlp\"\nencoding = \"q8\"", "rule 1: names no tensor"},
      {"tensors = \"ffn_up\"\nlayers = [12]\nencoding = \"q8\"", "rule 1: names no tensor"},
      {"tensors = \"token_embd\"\nlayers = [0]\nencoding = \"q8\"", "rule 1: names no tensor"},
  };
  for (const BadFile& file : files) {
    const std::string text =
        std::string_view(file.text).starts_with("tensors") ? base + file.text : file.text;
    const auto recipe = recipe_of(text);
    ASSERT_FALSE(recipe.ok()) << text;
    EXPECT_EQ(recipe.status().code(), ErrorCode::kBadInput);
    EXPECT_THAT(recipe.status().message(), testing::HasSubstr(file.error)) << text;
    EXPECT_THAT(recipe.status().message(), testing::HasSubstr("r.toml"));
  }
}

TEST(RecipeFile, SourceNeedsAnEncoding) {
  const auto recipe =
      recipe_of("base = \"source\"\n[[rule]]\ntensors = \"ffn_up\"\nmethod = \"gptq\"");
  ASSERT_FALSE(recipe.ok());
  EXPECT_THAT(recipe.status().message(), testing::HasSubstr("expected an encoding"));
}

}  // namespace
}  // namespace cria

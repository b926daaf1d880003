#include "quantize/recipe.h"

#include <string>

namespace cria {
namespace {

struct RecipeRow {
  RecipeSummary summary;
  Encoding linear;
  Encoding embedding;  // also of an untied head
};

// "source" is not in the table: it depends on the tensor.
constexpr RecipeSummary kSource = {"source", "every tensor as the checkpoint stores it, no loss"};

// The head decides each token and the embedding is read one row a token, so both keep 8 bits (6 in
// the smallest recipe).
constexpr RecipeRow kRecipes[] = {
    {{"f32", "32-bit floats"}, Encoding::kF32, Encoding::kF32},
    {{"f16", "half floats"}, Encoding::kF16, Encoding::kF16},
    {{"bf16", "bfloat16"}, Encoding::kBF16, Encoding::kBF16},
    {{"q8", "8 bits, blocks of 32"}, Encoding::kQ8, Encoding::kQ8},
    {{"q6", "6 bits, blocks of 32; embedding and head 8 bits"}, Encoding::kQ6, Encoding::kQ8},
    {{"q5", "5 bits, blocks of 32; embedding and head 8 bits"}, Encoding::kQ5, Encoding::kQ8},
    {{"q5_1", "5 bits with a minimum; embedding and head 8 bits"}, Encoding::kQ5Min, Encoding::kQ8},
    {{"q4", "4-bit codebook, blocks of 32; embedding and head 8 bits"},
     Encoding::kQ4Nl,
     Encoding::kQ8},
    {{"q4_0", "4 bits linear, blocks of 32; embedding and head 8 bits"},
     Encoding::kQ4,
     Encoding::kQ8},
    {{"q4_1", "4 bits with a minimum; embedding and head 8 bits"}, Encoding::kQ4Min, Encoding::kQ8},
    {{"mxfp4", "4-bit floats, power-of-two scales; embedding and head 8 bits"},
     Encoding::kMxfp4,
     Encoding::kQ8},
    {{"q3", "3 bits, blocks of 32; embedding and head 6 bits"}, Encoding::kQ3, Encoding::kQ6},
    // Two levels of scales: bits a weight in brackets.
    {{"q6_k", "6 bits, blocks of 16 in 256 (6.56)"}, Encoding::kQ6K, Encoding::kQ6K},
    {{"q5_k", "5 bits with a minimum, 32 in 256 (5.63); embedding and head q6_k"},
     Encoding::kQ5KMin,
     Encoding::kQ6K},
    {{"q4_k", "4 bits with a minimum, 32 in 256 (4.63); embedding and head q6_k"},
     Encoding::kQ4KMin,
     Encoding::kQ6K},
    {{"iq4_xs", "4-bit codebook, 32 in 256 (4.31); embedding and head q6_k"},
     Encoding::kQ4NlK,
     Encoding::kQ6K},
    {{"q3_k", "3 bits, 16 in 256 (3.56); embedding and head q6_k"}, Encoding::kQ3K, Encoding::kQ6K},
    {{"q2_k", "2 bits with a minimum, 16 in 256 (3.13); embedding and head q6_k"},
     Encoding::kQ2KMin,
     Encoding::kQ6K},
};

}  // namespace

WeightRole weight_role(std::string_view canonical_name) {
  if (canonical_name == "token_embd.weight") return WeightRole::kEmbedding;
  if (canonical_name == "output.weight") return WeightRole::kHead;
  return WeightRole::kLinear;
}

Result<Recipe> Recipe::from_name(std::string_view name) {
  Recipe recipe;
  recipe.name_ = name;
  if (name == kSource.name) {
    recipe.keep_source_ = true;
    return recipe;
  }
  std::string names = kSource.name;
  for (const RecipeRow& row : kRecipes) {
    if (name == row.summary.name) {
      recipe.linear_ = row.linear;
      recipe.embedding_ = row.embedding;
      return recipe;
    }
    names += std::string(", ") + row.summary.name;
  }
  return invalid_argument("recipe '{}' does not exist, expected one of {}", name, names);
}

Encoding Recipe::encoding_for(std::string_view canonical_name, StorageType stored) const {
  if (keep_source_) return storage_spec(stored).encoding;
  return weight_role(canonical_name) == WeightRole::kLinear ? linear_ : embedding_;
}

const std::vector<RecipeSummary>& recipe_summaries() {
  static const std::vector<RecipeSummary> summaries = [] {
    std::vector<RecipeSummary> list = {kSource};
    for (const RecipeRow& row : kRecipes) list.push_back(row.summary);
    return list;
  }();
  return summaries;
}

}  // namespace cria

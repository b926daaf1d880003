// What --quant asks for, for a model that is at hand.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/checkpoint.h"
#include "quantize/recipe.h"

namespace cria {

// What the default recipes depend on: Recipe::adapt().
struct RecipeConditions {
  bool has_statistics = false;
  std::function<bool(Encoding)> takes;
  std::string_view text = {};  // of a recipe file, in place of one at `name`; empty: none
};

// What "default" stands for: weights in floats become q5, or q4 if there are many of them, small
// models and codes are kept.
inline constexpr std::string_view kDefaultRecipe = "default";
std::string default_recipe(std::int64_t n_weights, bool floats);
std::string default_recipe(const Checkpoint& checkpoint);

// `name`: a recipe (quantize/recipe.h), "default" or the path of a recipe file
// (quantize/recipe_file.h), whose rules are applied to the matrices of the checkpoint.
Result<Recipe> open_recipe(const std::string& name, const Checkpoint& checkpoint,
                           const RecipeConditions& conditions = {});

}  // namespace cria

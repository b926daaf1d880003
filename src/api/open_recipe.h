// What --quant asks for, for a model that is at hand.
#pragma once

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

// `name`: a recipe (quantize/recipe.h) or the path of a recipe file (quantize/recipe_file.h), whose
// rules are applied to the matrices of the checkpoint.
Result<Recipe> open_recipe(const std::string& name, const Checkpoint& checkpoint,
                           const RecipeConditions& conditions = {});

}  // namespace cria

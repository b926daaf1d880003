// What --quant asks for, for a model that is at hand.
#pragma once

#include <string>

#include "base/result.h"
#include "model/checkpoint.h"
#include "quantize/recipe.h"

namespace cria {

// `name`: a recipe (quantize/recipe.h) or the path of a recipe file (quantize/recipe_file.h), whose
// rules are applied to the matrices of the checkpoint.
Result<Recipe> open_recipe(const std::string& name, const Checkpoint& checkpoint);

}  // namespace cria

// Recipes in files: a base recipe and rules that give some matrices another rounding. TOML:
//
//   base = "q4_0+gptq"           # a recipe by name (recipe.h), for what no rule names
//
//   [[rule]]                     # later rules win
//   tensors = "ffn_*"            # a matrix by its name without "blk.N." and ".weight"; * is any
//   text layers = [0, "2-4", -1]      # of blocks only; negative numbers count from the last;
//   absent: all encoding = "q8"              # any of these three, at least one method = "nearest"
//   # or "gptq" importance = false
//
// docs/recipes.md is for people.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "quantize/recipe.h"

namespace cria {

struct LayerRange {
  std::int64_t first = 0;  // negative: from the last layer, -1
  std::int64_t last = 0;   // included
};

struct RecipeRule {
  std::string tensors;
  std::vector<LayerRange> layers;  // empty: all, and matrices outside of blocks
  std::optional<Encoding> encoding;
  std::optional<RoundingMethod> method;
  std::optional<bool> importance;
};

struct RecipeFile {
  Recipe base;
  std::vector<RecipeRule> rules;
};

// Whether --quant names a file rather than a recipe: it ends in ".toml".
bool is_recipe_file(std::string_view name);

// `what` names the text in errors. kBadInput: no TOML, or a key that is unknown, missing or of
// another type, naming the rule (from 1 on) and the key.
Result<RecipeFile> parse_recipe_file(std::string_view text, std::string_view what);

// The recipe for a model with these matrices (canonical names) in so many layers. `what` names the
// file; it becomes the recipe's name. kBadInput: a rule that names no matrix, with what there is.
Result<Recipe> recipe_for(const RecipeFile& file, std::span<const std::string> matrix_names,
                          std::int64_t n_layers, std::string_view what);

// A recipe as such a file: its base by name, one rule for the layers whose `overrides` agree.
// Parsing it gives the same recipe.
std::string recipe_file_text(const Recipe& recipe);

}  // namespace cria

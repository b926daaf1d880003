#include "api/open_recipe.h"

#include "base/mapped_file.h"
#include "quantize/recipe_file.h"

namespace cria {
namespace {

// Between Llama 3.2 1B (1.2 billion weights) and what is there below and above it.
constexpr std::int64_t kSmall = 500'000'000, kLarge = 2'000'000'000;

}  // namespace

std::string default_recipe(std::int64_t n_weights, bool floats) {
  if (!floats || n_weights < kSmall) return "source";
  return n_weights < kLarge ? "q5" : "q4";
}

std::string default_recipe(const Checkpoint& checkpoint) {
  std::int64_t n_weights = 0;
  bool floats = true;
  for (const StoredWeight& weight : checkpoint.weights()) {
    n_weights += weight.n_rows * weight.n_cols;
    floats = floats && encoding_spec(weight.native_encoding()).dense();
  }
  return default_recipe(n_weights, floats);
}

Result<Recipe> open_recipe(const std::string& name, const Checkpoint& checkpoint,
                           const RecipeConditions& conditions) {
  if (conditions.text.empty() && name == kDefaultRecipe)
    return open_recipe(default_recipe(checkpoint), checkpoint, conditions);
  if (conditions.text.empty() && !is_recipe_file(name)) {
    CRIA_ASSIGN_OR_RETURN(Recipe recipe, Recipe::from_name(name));
    recipe.adapt(conditions.has_statistics, conditions.takes);
    return recipe;
  }
  std::optional<MappedFile> file;
  std::string_view text = conditions.text;
  if (text.empty()) {
    CRIA_ASSIGN_OR_RETURN(file, MappedFile::open(name));
    text = {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
  }
  CRIA_ASSIGN_OR_RETURN(RecipeFile recipe, parse_recipe_file(text, name));
  recipe.base.adapt(conditions.has_statistics, conditions.takes);
  std::vector<std::string> matrices;
  for (const StoredWeight& weight : checkpoint.weights()) {
    if (weight.n_rows > 1) matrices.push_back(weight.name);
  }
  return recipe_for(recipe, matrices, checkpoint.config().n_layers, name);
}

}  // namespace cria

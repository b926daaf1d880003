#include "api/open_recipe.h"

#include "base/mapped_file.h"
#include "quantize/recipe_file.h"

namespace cria {

Result<Recipe> open_recipe(const std::string& name, const Checkpoint& checkpoint,
                           const RecipeConditions& conditions) {
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

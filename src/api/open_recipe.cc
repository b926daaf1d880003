#include "api/open_recipe.h"

#include "base/mapped_file.h"
#include "quantize/recipe_file.h"

namespace cria {

Result<Recipe> open_recipe(const std::string& name, const Checkpoint& checkpoint) {
  if (!is_recipe_file(name)) return Recipe::from_name(name);
  CRIA_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(name));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  CRIA_ASSIGN_OR_RETURN(const RecipeFile recipe, parse_recipe_file(text, name));
  std::vector<std::string> matrices;
  for (const StoredWeight& weight : checkpoint.weights()) {
    if (weight.n_rows > 1) matrices.push_back(weight.name);
  }
  return recipe_for(recipe, matrices, checkpoint.config().n_layers, name);
}

}  // namespace cria

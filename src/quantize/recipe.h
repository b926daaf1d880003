// Recipes: which encoding each weight matrix gets, asked for by one name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/encoding.h"
#include "tensor/storage_type.h"

namespace cria {

// The part a weight plays. Vectors (norm gains, rope frequencies) are float32 in every recipe.
enum class WeightRole { kEmbedding, kHead, kLinear };

// The role of a matrix by its canonical name: token_embd.weight (also the head when tied),
// output.weight, anything else.
WeightRole weight_role(std::string_view canonical_name);

// One recipe. Recipes that name encodings give one to the linears and one to embedding and head;
// "source" keeps each tensor in the native encoding of its storage type, without loss.
class Recipe {
 public:
  // kInvalidArgument lists the names there are.
  static Result<Recipe> from_name(std::string_view name);

  const std::string& name() const { return name_; }

  Encoding encoding_for(std::string_view canonical_name, StorageType stored) const;

 private:
  Recipe() = default;
  std::string name_;
  bool keep_source_ = false;
  Encoding linear_ = Encoding::kF32;
  Encoding embedding_ = Encoding::kF32;
};

// All recipes with one line of description each, in the order of the help text.
struct RecipeSummary {
  const char* name;
  const char* summary;
};
const std::vector<RecipeSummary>& recipe_summaries();

}  // namespace cria

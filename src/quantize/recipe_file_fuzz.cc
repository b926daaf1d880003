// Any text: a recipe file whose rules name matrices of a small model, or an error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "quantize/recipe_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto file = cria::parse_recipe_file(text, "fuzz");
  if (!file.ok()) {
    if (file.status().code() != cria::ErrorCode::kBadInput) std::abort();
    return 0;
  }
  const std::vector<std::string> names = {"token_embd.weight", "blk.0.attn_q.weight",
                                          "blk.1.ffn_down.weight"};
  const auto recipe = cria::recipe_for(*file, names, 2, "fuzz");
  if (!recipe.ok() && recipe.status().code() != cria::ErrorCode::kBadInput) std::abort();
  if (recipe.ok() && recipe->overrides.size() > names.size()) std::abort();
  return 0;
}

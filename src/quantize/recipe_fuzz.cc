// Any name: a recipe that answers for every native encoding, or an error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "quantize/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = text.find('\n');
  const auto recipe = cria::Recipe::from_name(text.substr(0, end));
  if (!recipe.ok()) {
    if (recipe.status().code() != cria::ErrorCode::kInvalidArgument) std::abort();
    return 0;
  }
  const std::string_view weight = end == text.npos ? std::string_view() : text.substr(end + 1);
  for (int native = 0; native < cria::kEncodingCount; ++native) {
    const auto encoding = recipe->encoding_for(weight, static_cast<cria::Encoding>(native));
    if (static_cast<int>(encoding) >= cria::kEncodingCount) std::abort();
  }
  return 0;
}

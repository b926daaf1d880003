// What is accepted must mean the same to the library's own parser, and survive being written.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = cria::parse_strict_json(text, "fuzz");
  if (!parsed.ok()) {
    if (parsed.status().message().empty()) std::abort();
    return 0;
  }
  if (nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false) != *parsed) std::abort();
  const auto again = cria::parse_strict_json(parsed->dump(), "fuzz");
  if (!again.ok() || *again != *parsed) std::abort();
  return 0;
}

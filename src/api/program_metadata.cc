#include "api/program_metadata.h"

namespace cria {

nlohmann::json read_metadata(const Program& program) {
  Result<std::span<const std::byte>> bytes = program.named_data("metadata");
  if (!bytes.ok()) return nlohmann::json::object();
  const char* text = reinterpret_cast<const char*>(bytes->data());
  nlohmann::json json =
      nlohmann::json::parse(text, text + bytes->size(), nullptr, /*allow_exceptions=*/false);
  return json.is_object() ? json : nlohmann::json::object();
}

CacheTypes program_cache_types(const Program& program) {
  const nlohmann::json metadata = read_metadata(program);
  return {value_or<std::string>(metadata, "cache_type_k", "?"),
          value_or<std::string>(metadata, "cache_type_v", "?")};
}

}  // namespace cria

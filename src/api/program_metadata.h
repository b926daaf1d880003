// What the compiler noted about a program (the named data "metadata").
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/program.h"

namespace cria {

// An empty object for programs without.
nlohmann::json read_metadata(const Program& program);

// The member `key`, or `fallback` if it is absent or of another type.
template <typename T>
T value_or(const nlohmann::json& json, const char* key, T fallback) {
  const auto found = json.find(key);
  if (found == json.end()) return fallback;
  if constexpr (std::is_same_v<T, std::string>) {
    return found->is_string() ? found->get<std::string>() : fallback;
  } else {
    return found->is_number() ? found->get<T>() : fallback;
  }
}

// Elements of a program's KV cache: "f16", "q8_0"; "?" if it does not say.
struct CacheTypes {
  std::string k;
  std::string v;
};
CacheTypes program_cache_types(const Program& program);

}  // namespace cria

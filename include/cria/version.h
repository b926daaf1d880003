// The version of cria, and of what it writes.
#pragma once

namespace cria {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace cria

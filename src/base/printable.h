// Names that errors may tell as they are.
#pragma once

#include <algorithm>
#include <string_view>

namespace cria {

// Of printable ASCII alone: no control characters, no broken UTF-8.
inline bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace cria

// Names from files in error messages.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace cria {

inline constexpr std::size_t kQuotedBytes = 120;

// `text` in quotation marks, control characters and invalid UTF-8 escaped, cut at kQuotedBytes: a
// file cannot break the one line of an error, nor fill a terminal.
inline std::string quote(std::string_view text) {
  if (text.size() <= kQuotedBytes) return fmt::format("{:?}", text);
  return fmt::format("{:?}...", text.substr(0, kQuotedBytes));
}

}  // namespace cria

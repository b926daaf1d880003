// JSON that nobody vouches for.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.h"

namespace cria {

inline constexpr std::size_t kMaxJsonDepth = 64;

// Arrays and objects inside one another, at the deepest place. Text that is not JSON gives some
// number.
std::size_t json_depth(std::string_view text);

// Parses without exceptions. kBadInput names the place of the error, or nesting deeper than
// kMaxJsonDepth (recursive code may then run over the value). `what` names the text in errors.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view what);

}  // namespace cria

// JSON from files that nobody vouches for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cria {

inline constexpr std::size_t kMaxJsonNesting = 64;

// Parses a whole text. `what` names it in errors. kBadInput (with the byte offset where it is
// known) when it is not JSON, nests deeper than kMaxJsonNesting, or has an object with the same key
// twice (readers disagree on which one counts, so a file could mean different things to different
// tools). Never throws.
Result<nlohmann::json> parse_strict_json(std::string_view text, std::string_view what);

// Typed members of an object. A missing member or null gives `fallback`; a member of another type
// (or an integer that does not fit) is kBadInput naming `what` and the member.
Result<std::int64_t> json_integer(const nlohmann::json& object, const char* member,
                                  std::int64_t fallback, std::string_view what);
Result<double> json_number(const nlohmann::json& object, const char* member, double fallback,
                           std::string_view what);
Result<bool> json_bool(const nlohmann::json& object, const char* member, bool fallback,
                       std::string_view what);
Result<std::string> json_text(const nlohmann::json& object, const char* member,
                              std::string_view fallback, std::string_view what);

// The member, or null when `object` has none (or has a JSON null there).
const nlohmann::json* json_member(const nlohmann::json& object, const char* member);

}  // namespace cria

#include "tokenizer/json_input.h"

#include <algorithm>

namespace cria {

std::size_t json_depth(std::string_view text) {
  std::size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

Result<nlohmann::json> parse_json(std::string_view text, std::string_view what) {
  if (const std::size_t depth = json_depth(text); depth > kMaxJsonDepth) {
    return bad_input("{}: JSON nested {} deep, at most {} is read", what, depth, kMaxJsonDepth);
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    return bad_input("{}: not JSON at byte {}", what, error.byte);
  } catch (const std::exception& error) {
    return bad_input("{}: not JSON: {}", what, error.what());
  }
}

}  // namespace cria

// Where UTF-8 is valid, incomplete or broken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cria {

inline constexpr int kUtf8Invalid = 0;
inline constexpr int kUtf8Incomplete = -1;  // a proper prefix of at least one valid character

// The length of the valid character that `text` starts with, or one of the two above. Strict: no
// overlong forms, no surrogates, nothing past U+10FFFF. REQUIRES: not empty.
inline int utf8_character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return kUtf8Invalid;
  const int length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte's range carries the rules on overlong forms, surrogates and the upper end.
  const std::uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const std::uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (int i = 1; i < length; ++i) {
    if (static_cast<std::size_t>(i) >= text.size()) return kUtf8Incomplete;
    const std::uint8_t b = byte(static_cast<std::size_t>(i));
    if (i == 1 ? (b < low || b > high) : (b & 0xc0) != 0x80) return kUtf8Invalid;
  }
  return length;
}

// The length of the longest prefix that is valid UTF-8.
inline std::size_t utf8_valid_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    if (static_cast<std::uint8_t>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const int length = utf8_character_length(text.substr(at));
    if (length <= 0) break;
    at += static_cast<std::size_t>(length);
  }
  return at;
}

// Appends the UTF-8 form of a code point. REQUIRES: not a surrogate, at most U+10FFFF.
template <typename String>
void append_utf8(String& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6), put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 0x3f)), put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f)), put(0x80 | (code & 0x3f));
  }
}

// The code point of one valid character.
inline std::uint32_t utf8_code_point(std::string_view character) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(character[i]); };
  switch (character.size()) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1fu) << 6 | (byte(1) & 0x3fu);
    case 3:
      return (byte(0) & 0x0fu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
    default:
      return (byte(0) & 0x07u) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 |
             (byte(3) & 0x3fu);
  }
}

}  // namespace cria

#include "tokenizer/gpt2_bytes.h"

#include <array>
#include <cstdint>

#include "tokenizer/utf8.h"

namespace cria {

namespace {

constexpr bool prints_in_latin1(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr std::uint32_t kFirstSubstitute = 0x100;
constexpr std::uint32_t kCharacters = kFirstSubstitute + 68;

struct Mapping {
  std::array<std::uint32_t, 256> character_of_byte{};
  std::array<std::int16_t, kCharacters> byte_of_character{};
};

constexpr Mapping make_mapping() {
  Mapping mapping;
  for (auto& byte : mapping.byte_of_character) byte = -1;
  std::uint32_t substitute = kFirstSubstitute;
  for (int byte = 0; byte < 256; ++byte) {
    const std::uint32_t character =
        prints_in_latin1(byte) ? static_cast<std::uint32_t>(byte) : substitute++;
    mapping.character_of_byte[static_cast<std::size_t>(byte)] = character;
    mapping.byte_of_character[character] = static_cast<std::int16_t>(byte);
  }
  return mapping;
}
constexpr Mapping kMapping = make_mapping();

}  // namespace

Result<std::string> gpt2_spelling_to_bytes(std::string_view spelling) {
  std::string bytes;
  std::size_t at = 0;
  while (at < spelling.size()) {
    const int length = utf8_character_length(spelling.substr(at));
    if (length <= 0) return bad_input("a token's spelling is not UTF-8 at byte {}", at);
    const auto size = static_cast<std::size_t>(length);
    const std::uint32_t code = utf8_code_point(spelling.substr(at, size));
    const int byte = code < kCharacters ? kMapping.byte_of_character[code] : -1;
    if (byte < 0) {
      return bad_input("the token '{}' has the character U+{:04X}, which stands for no byte",
                       spelling, code);
    }
    bytes.push_back(static_cast<char>(byte));
    at += size;
  }
  return bytes;
}

std::string bytes_to_gpt2_spelling(std::string_view bytes) {
  std::string spelling;
  for (const char c : bytes) {
    append_utf8(spelling, kMapping.character_of_byte[static_cast<std::uint8_t>(c)]);
  }
  return spelling;
}

}  // namespace cria

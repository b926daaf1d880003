#include "tokenizer/tiktoken.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <string>

#include "tokenizer/llama3_tokens.h"
#include "tokenizer/tokenizer_blob.h"

namespace cria {

namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::int8_t, 256> make_values() {
  std::array<std::int8_t, 256> values{};
  for (auto& value : values) value = -1;
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<std::uint8_t>(kAlphabet[i])] = static_cast<std::int8_t>(i);
  }
  return values;
}
constexpr std::array<std::int8_t, 256> kValues = make_values();

// False when `text` is not padded base64 of at least one byte.
bool decode_base64(std::string_view text, std::string& bytes) {
  bytes.clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  const std::size_t n_padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::uint32_t bits = 0;
  int n_bits = 0;
  for (const char c : text.substr(0, text.size() - n_padding)) {
    const int value = kValues[static_cast<std::uint8_t>(c)];
    if (value < 0) return false;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    n_bits += 6;
    if (n_bits < 8) continue;
    n_bits -= 8;
    bytes.push_back(static_cast<char>(bits >> n_bits & 0xff));
  }
  return true;
}

// The line at the start of `text`, which is removed along with its newline.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool parse_line(std::string_view line, std::string& bytes, std::int32_t& rank) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || !decode_base64(line.substr(0, space), bytes)) return false;
  const std::string_view number = line.substr(space + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rank);
  return error == std::errc() && end == number.data() + number.size() && rank >= 0;
}

}  // namespace

bool is_tiktoken(std::string_view text) {
  text = text.substr(0, 2 * kMaxTokenBytes);
  const std::string_view line = take_line(text);
  std::string bytes;
  std::int32_t rank = 0;
  return parse_line(line, bytes, rank);
}

Result<Vocabulary> read_tiktoken_vocabulary(std::string_view text, std::string_view what) {
  Vocabulary vocabulary;
  std::string bytes;
  for (int line_number = 1; !text.empty(); ++line_number) {
    const std::string_view line = take_line(text);
    if (line.empty()) continue;
    std::int32_t rank = 0;
    if (!parse_line(line, bytes, rank)) {
      return bad_input("{}: line {} is not 'base64 rank'", what, line_number);
    }
    if (static_cast<std::size_t>(rank) != vocabulary.tokens.size()) {
      return bad_input("{}: line {} has rank {}, expected {}: ranks must be in order", what,
                       line_number, rank, vocabulary.tokens.size());
    }
    vocabulary.tokens.push_back({bytes, TokenKind::kNormal, 0});
  }
  if (vocabulary.tokens.empty()) return bad_input("{}: no tokens", what);
  vocabulary.bos_id = static_cast<std::int32_t>(vocabulary.tokens.size());
  for (std::string& special : llama3_special_tokens()) {
    vocabulary.tokens.push_back({std::move(special), TokenKind::kSpecial, 0});
  }
  vocabulary.ignore_merges = true;  // tiktoken looks a piece up before it merges
  add_llama3_end_tokens(vocabulary);
  return vocabulary;
}

}  // namespace cria

// What the tests of this folder share: data outside the repository, and a vocabulary inside it.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace cria {

inline std::optional<std::string> read_text_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The path of test data that is not part of the repository; it may not exist.
inline std::string shared_data(const std::string& name) {
  const char* folder = std::getenv("CRIA_SHARED_DATA");
  return (folder != nullptr ? std::string(folder) : CRIA_SOURCE_DIR "/../shared/data") + "/" + name;
}

#define CRIA_READ_OR_SKIP(text, path)                                            \
  const auto text##_read = ::cria::read_text_file(path);                         \
  if (!text##_read) GTEST_SKIP() << "SKIPPED, TEST DATA IS MISSING: " << (path); \
  const std::string& text = *text##_read

inline constexpr std::int32_t kTinyNormal = 256 + 24;  // then come the special tokens

// 256 bytes (id = byte), 24 merged tokens, and the special tokens of Llama 3 that matter, at
// kTinyNormal and up.
inline Vocabulary tiny_vocabulary() {
  Vocabulary vocabulary;
  std::map<std::string, std::int32_t> ids;
  const auto add = [&](const std::string& bytes, TokenKind kind) {
    ids.emplace(bytes, static_cast<std::int32_t>(vocabulary.tokens.size()));
    vocabulary.tokens.push_back({bytes, kind, 0});
  };
  for (int byte = 0; byte < 256; ++byte) {
    add(std::string(1, static_cast<char>(byte)), TokenKind::kNormal);
  }
  const std::vector<std::pair<std::string, std::string>> merges = {
      {"t", "h"},    {"th", "e"}, {"i", "n"}, {"a", "n"},       {"an", "d"},      {" ", "the"},
      {" ", "and"},  {"in", "g"}, {"e", "r"}, {"l", "l"},       {"e", "ll"},      {"ell", "o"},
      {"h", "ello"}, {" ", "a"},  {"a", "a"}, {"aa", "aa"},     {"\n", "\n"},     {" ", " "},
      {"1", "2"},    {"12", "3"}, {"'", "s"}, {"\xc3", "\xa9"}, {"\xe2", "\x80"}, {"\xf0", "\x9f"}};
  for (const auto& [left, right] : merges) {
    vocabulary.merges.push_back({ids.at(left), ids.at(right)});
    add(left + right, TokenKind::kNormal);
  }
  for (const char* special : {"<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                              "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"}) {
    add(special, TokenKind::kSpecial);
  }
  vocabulary.bos_id = kTinyNormal;
  vocabulary.eos_ids = {kTinyNormal + 5, kTinyNormal + 1};
  vocabulary.chat_template = "{{ bos_token }}";
  return vocabulary;
}

// A SentencePiece vocabulary of bytes and a few words.
inline Vocabulary tiny_sentencepiece() {
  Vocabulary vocabulary;
  vocabulary.model = TokenizerModel::kSentencePiece;
  vocabulary.tokens = {{"<unk>", TokenKind::kUnused, 0},
                       {"<s>", TokenKind::kSpecial, 0},
                       {"</s>", TokenKind::kSpecial, 0}};
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte)), TokenKind::kByte, 0});
  }
  float score = 0;
  for (const char* text : {" ", "a", "b", "h", "e", "l", "o", "é", "he", "ll", "hell", "hello",
                           " hello", "aa", " a"}) {
    vocabulary.tokens.push_back({text, TokenKind::kNormal, score});
    score -= 1;
  }
  vocabulary.bos_id = 1;
  vocabulary.eos_ids = {2};
  return vocabulary;
}

// Text of up to `max_length` characters, or bytes, that rules on white space, case, digits and
// invalid UTF-8 stumble over.
inline std::string random_text(std::mt19937& random, std::size_t max_length) {
  static const std::vector<std::string> kParts = {" ",
                                                  " ",
                                                  "  ",
                                                  "\n",
                                                  "\r\n",
                                                  "\t",
                                                  "\v",
                                                  "\f",
                                                  "a",
                                                  "Z",
                                                  "the",
                                                  "hello",
                                                  "'s",
                                                  "'S",
                                                  "'re",
                                                  "'LL",
                                                  "'",
                                                  "!",
                                                  "...",
                                                  "(",
                                                  "1",
                                                  "23",
                                                  "4567",
                                                  "_",
                                                  "\x01",
                                                  "\x1c",
                                                  "\x1f",
                                                  "\x7f",
                                                  "é",
                                                  "ſ",
                                                  "'ſ",
                                                  "K",
                                                  "ß",
                                                  "中",
                                                  "文",
                                                  "ा",
                                                  "🦙",
                                                  "\u00a0",
                                                  "\u0085",
                                                  "\u2028",
                                                  "\u3000",
                                                  "\u200d",
                                                  "½",
                                                  "٣",
                                                  "e\u0301",
                                                  "<|eot_id|>",
                                                  "<|",
                                                  "<",
                                                  "\x80",
                                                  "\xff",
                                                  "\xc3",
                                                  "\xe2\x82",
                                                  "\xed\xa0\x80",
                                                  "\xf4\x90\x80\x80",
                                                  std::string(1, '\0')};
  std::string text;
  const std::size_t n = random() % (max_length + 1);
  for (std::size_t i = 0; i < n; ++i) {
    if (random() % 10 == 0) {
      text.push_back(static_cast<char>(random()));
    } else {
      text += kParts[random() % kParts.size()];
    }
  }
  return text;
}

}  // namespace cria

#include "tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/tokenizer_testing.h"
#include "tokenizer/utf8.h"

namespace cria {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> split(std::string_view text, const SplitOptions& options = {}) {
  auto splitter = PreTokenSplitter::create(text, options);
  EXPECT_TRUE(splitter.ok()) << splitter.status().message();
  std::vector<std::string> pieces;
  for (auto piece = splitter->next(); !piece.empty(); piece = splitter->next()) {
    pieces.emplace_back(piece);
  }
  return pieces;
}

std::string joined(const std::vector<std::string>& pieces) {
  std::string text;
  for (const auto& piece : pieces) text += piece;
  return text;
}

TEST(PreTokenSplitter, CutsAsLlama3Does) {
  EXPECT_THAT(split("Hello, y'all! It's 12345"),
              ElementsAre("Hello", ",", " y", "'all", "!", " It", "'s", " ", "123", "45"));
  EXPECT_THAT(split("a  b\n\n c \n"), ElementsAre("a", " ", " b", "\n\n", " c", " \n"));
  EXPECT_THAT(split("   "), ElementsAre("   "));
  EXPECT_THAT(split("x ...\r\n\r\ny"), ElementsAre("x", " ...\r\n\r\n", "y"));
  EXPECT_THAT(split("'Sé 'ſx"), ElementsAre("'S", "é", " '", "ſx"));
  EXPECT_THAT(split("'ſx"), ElementsAre("'ſ", "x"));
}

TEST(PreTokenSplitter, FastPathEqualsTheExpression) {
  std::mt19937 random(1);
  for (int i = 0; i < 60000; ++i) {
    const std::string text = random_text(random, 12);
    ASSERT_EQ(split(text), split(text, {.ascii_fast_path = false})) << testing::PrintToString(text);
  }
}

// Short texts over the characters that the rules tell apart, all of them.
TEST(PreTokenSplitter, FastPathEqualsTheExpressionExhaustively) {
  constexpr std::string_view kAlphabet = "aS'lr1 \n\r\t.\x1c\xc3\xa9";
  constexpr int kLength = 4;
  std::size_t n_texts = 1;
  for (int i = 0; i < kLength; ++i) n_texts *= kAlphabet.size();
  for (std::size_t code = 0; code < n_texts; ++code) {
    std::string text;
    for (std::size_t rest = code, i = 0; i < kLength; ++i, rest /= kAlphabet.size()) {
      text.push_back(kAlphabet[rest % kAlphabet.size()]);
    }
    ASSERT_EQ(split(text), split(text, {.ascii_fast_path = false})) << testing::PrintToString(text);
  }
}

TEST(PreTokenSplitter, KeepsEveryByte) {
  std::mt19937 random(2);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random_text(random, 20);
    ASSERT_EQ(joined(split(text)), text);
  }
}

TEST(PreTokenSplitter, InvalidBytesArePiecesOfTheirOwn) {
  EXPECT_THAT(split("ab\xff\xfe cd\xe2\x82"), ElementsAre("ab", "\xff\xfe", " cd", "\xe2\x82"));
  EXPECT_THAT(split("\xed\xa0\x80"), ElementsAre("\xed\xa0\x80"));
}

TEST(PreTokenSplitter, ALimitOfTheExpressionLosesNoText) {
  const std::string text = "né " + std::string(1000, ' ') + "漢字 more text\n";
  for (const std::uint32_t limit : {1u, 2u, 5u, 20u}) {
    const auto pieces = split(text, {.ascii_fast_path = false, .match_limit = limit});
    EXPECT_EQ(joined(pieces), text) << limit;
  }
  // The smallest limit is hit by the very first match.
  EXPECT_LT(split(text, {.ascii_fast_path = false, .match_limit = 1}).size(), split(text).size());
}

TEST(PreTokenSplitter, LongRunsTakeLinearTime) {
  for (const std::string unit :
       {"a", " ", "\n", "!", "1", "é", "漢", "\u3000", "\xff", "\xc3\xa9\xff"}) {
    std::string text;
    while (text.size() < (1u << 20)) text += unit;
    for (const std::string tail : {"", "x", "é"}) {
      const std::string whole = text + tail;
      EXPECT_EQ(joined(split(whole)), whole);
    }
  }
}

TEST(Utf8, FindsCharactersAndBrokenOnes) {
  EXPECT_EQ(utf8_character_length("a"), 1);
  EXPECT_EQ(utf8_character_length("é"), 2);
  EXPECT_EQ(utf8_character_length("🦙"), 4);
  EXPECT_EQ(utf8_character_length("\xf0\x9f"), kUtf8Incomplete);
  EXPECT_EQ(utf8_character_length("\x80"), kUtf8Invalid);
  EXPECT_EQ(utf8_character_length("\xc0\xaf"), kUtf8Invalid);          // overlong
  EXPECT_EQ(utf8_character_length("\xe0\x9f\xbf"), kUtf8Invalid);      // overlong
  EXPECT_EQ(utf8_character_length("\xed\xa0\x80"), kUtf8Invalid);      // surrogate
  EXPECT_EQ(utf8_character_length("\xf4\x90\x80\x80"), kUtf8Invalid);  // past U+10FFFF
  for (std::uint32_t code = 0; code <= 0x10ffff; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    std::string text;
    append_utf8(text, code);
    ASSERT_EQ(utf8_character_length(text), static_cast<int>(text.size()));
    ASSERT_EQ(utf8_code_point(text), code);
  }
}

}  // namespace
}  // namespace cria

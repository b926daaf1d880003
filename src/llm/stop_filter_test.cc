#include "llm/stop_filter.h"

#include <gtest/gtest.h>

#include <random>

namespace cria {
namespace {

TEST(StopFilter, WithoutStopStringsTextPassesAtOnce) {
  StopFilter filter({});
  EXPECT_EQ(filter.push("abc"), "abc");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, EmptyStopStringsAreIgnored) {
  StopFilter filter({""});
  EXPECT_EQ(filter.push("abc"), "abc");
  EXPECT_FALSE(filter.stopped());
}

TEST(StopFilter, HoldsBackABeginningUntilItIsDecided) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.push("the E"), "the ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("vy"), "ENvy");
  EXPECT_EQ(filter.push("E"), "");
  EXPECT_EQ(filter.finish(), "E");
}

TEST(StopFilter, TheEarliestStopStringEndsTheText) {
  StopFilter filter({"cd", "b"});
  EXPECT_EQ(filter.push("abcd"), "a");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

// The same text, however it is cut into pieces: what is shown in all is the text before the first
// stop string, and nothing that was shown has to be taken back.
TEST(StopFilter, AnyCutGivesTheSameText) {
  std::mt19937 random(1);
  const std::vector<std::string> stops = {"aab", "abab", "bbb"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text += random() % 2 ? 'a' : 'b';
    std::size_t end = std::string::npos;
    for (const std::string& stop : stops) end = std::min(end, text.find(stop));
    StopFilter filter(stops);
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t n = 1 + random() % 4;
      shown += filter.push(std::string_view(text).substr(at, n));
      at += n;
    }
    shown += filter.finish();
    // Two stop strings that end in one piece: the one that begins first wins, whereas byte by byte
    // the one that ends first would; both cut before any stop string is complete.
    if (end == std::string::npos) {
      EXPECT_EQ(shown, text);
      EXPECT_FALSE(filter.stopped());
    } else {
      EXPECT_TRUE(filter.stopped());
      EXPECT_TRUE(text.starts_with(shown));
      for (const std::string& stop : stops) EXPECT_EQ(shown.find(stop), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace cria

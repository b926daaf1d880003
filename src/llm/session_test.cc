#include "llm/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/fake_language_model.h"
#include "tokenizer/tokenizer.h"

namespace cria {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int32_t kBos = 256, kEos = 257, kVocab = 258;

// One token a byte, then the begin and the end token.
Tokenizer byte_tokenizer() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte))});
  }
  vocabulary.tokens.push_back({"<|begin|>", TokenKind::kSpecial});
  vocabulary.tokens.push_back({"<|end|>", TokenKind::kSpecial});
  vocabulary.bos_id = kBos;
  vocabulary.eos_ids = {kEos};
  Result<Tokenizer> tokenizer = Tokenizer::build(vocabulary);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *tokenizer;
}

std::vector<std::int32_t> ids_of(std::string_view text) {
  return {reinterpret_cast<const unsigned char*>(text.data()),
          reinterpret_cast<const unsigned char*>(text.data()) + text.size()};
}

// A model that says `answer_` byte by byte after the last ">" of the sequence, then ends.
class SessionTest : public ::testing::Test {
 protected:
  std::int32_t next(const std::vector<std::int32_t>& history) {
    history_ = history;
    std::size_t said = 0;
    while (said < history.size() && history[history.size() - 1 - said] != '>') ++said;
    return said < answer_.size() ? static_cast<unsigned char>(answer_[said]) : kEos;
  }

  Result<GenerateResult> generate(std::string_view prompt) {
    pieces_.clear();
    return session_.generate(ids_of(prompt), options_, [this](std::string_view piece) {
      pieces_.emplace_back(piece);
      return static_cast<int>(pieces_.size()) != cancel_at_;
    });
  }

  std::string answer_ = "a baby llama";
  int cancel_at_ = -1;
  std::vector<std::int32_t> history_;  // what the model saw last
  std::vector<std::string> pieces_;
  double now_ = 100;
  Tokenizer tokenizer_ = byte_tokenizer();
  FakeLanguageModel model_{kVocab, [this](const std::vector<std::int32_t>& h) { return next(h); }};
  KvCache cache_ = *KvCache::allocate(64 * 4);
  GenerateOptions options_ = [] {
    GenerateOptions options;
    options.temperature = 0;
    return options;
  }();
  Session session_{model_, tokenizer_, cache_, [this] { return now_; }};
};

TEST_F(SessionTest, GeneratesUntilTheEndToken) {
  Result<GenerateResult> result = generate("tell>");
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->text, answer_);
  EXPECT_EQ(result->reason, StopReason::kEndToken);
  std::vector<std::int32_t> expected = ids_of(answer_);
  expected.push_back(kEos);
  EXPECT_EQ(result->ids, expected);
  std::string shown;
  for (const std::string& piece : pieces_) shown += piece;
  EXPECT_EQ(shown, answer_);
}

TEST_F(SessionTest, AnEndTokenOfTheProgramEndsToo) {
  model_.mutable_info().eos_ids = {'y'};
  Result<GenerateResult> result = generate(">");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->text, "a bab");
  EXPECT_EQ(result->reason, StopReason::kEndToken);
}

TEST_F(SessionTest, IgnoresEndTokensOnRequest) {
  options_.ignore_eos = true;
  options_.max_tokens = 20;
  Result<GenerateResult> result = generate(">");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->reason, StopReason::kTokenLimit);
  EXPECT_EQ(result->ids.size(), 20u);
  EXPECT_EQ(result->text, answer_) << "end tokens are not text";
}

TEST_F(SessionTest, StopsAtTheTokenLimit) {
  options_.max_tokens = 4;
  Result<GenerateResult> result = generate(">");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->text, "a ba");
  EXPECT_EQ(result->reason, StopReason::kTokenLimit);
  session_.reset();
  options_.max_tokens = 0;
  result = generate(">");
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->ids, IsEmpty());
  EXPECT_EQ(session_.position(), 1) << "the prompt was read";
}

TEST_F(SessionTest, StopsWhenTheContextIsFull) {
  cache_ = *KvCache::allocate(8 * 4);
  Result<GenerateResult> result = generate("ab>");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->reason, StopReason::kContextFull);
  // Five more positions, and the token that follows the last of them.
  EXPECT_EQ(result->text, "a baby");
  EXPECT_EQ(session_.position(), 8);
}

TEST_F(SessionTest, RefusesAPromptThatDoesNotFitBeforeAnyWork) {
  cache_ = *KvCache::allocate(8 * 4);
  Result<GenerateResult> result = generate("123456789");
  EXPECT_EQ(result.status().code(), ErrorCode::kOutOfResources);
  EXPECT_THAT(result.status().message(), HasSubstr("9 tokens"));
  EXPECT_THAT(model_.step_sizes, IsEmpty());
  EXPECT_EQ(generate("").status().code(), ErrorCode::kInvalidArgument);
  options_.top_p = -1;
  EXPECT_EQ(generate(">").status().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(model_.step_sizes, IsEmpty());
}

TEST_F(SessionTest, AStopStringIsNeverShownNotEvenItsBeginning) {
  options_.stop = {"by l"};
  Result<GenerateResult> result = generate(">");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->text, "a ba");
  EXPECT_EQ(result->reason, StopReason::kStopString);
  for (const std::string& piece : pieces_) EXPECT_EQ(piece.find('y'), std::string::npos);
}

TEST_F(SessionTest, HeldBackTextIsShownWhenItIsNoStopString) {
  options_.stop = {"lamas"};
  Result<GenerateResult> result = generate(">");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->text, answer_);
  EXPECT_EQ(pieces_.back(), "lama");
  EXPECT_EQ(result->reason, StopReason::kEndToken);
}

TEST_F(SessionTest, CharactersAreNeverSplit) {
  answer_ = "h\xc3\xa9 \xf0\x9f\xa6\x99!";
  Result<GenerateResult> result = generate(">");
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(pieces_, ElementsAre("h", "\xc3\xa9", " ", "\xf0\x9f\xa6\x99", "!"));
}

TEST_F(SessionTest, TheCallbackCancels) {
  cancel_at_ = 3;
  Result<GenerateResult> result = generate(">");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->reason, StopReason::kCancelled);
  EXPECT_EQ(result->text, "a b");
}

TEST_F(SessionTest, TheNextCallContinuesTheSequence) {
  options_.max_tokens = 3;
  ASSERT_TRUE(generate("x>").ok());
  EXPECT_EQ(session_.position(), 4) << "the third token was not read yet";
  Result<GenerateResult> result = generate("y>");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->stats.n_prompt, 3) << "it is read before the next prompt";
  EXPECT_EQ(history_, ids_of("x>a by>a "));
}

TEST_F(SessionTest, AFailureLeavesTheSequenceAsItWas) {
  options_.max_tokens = 3;
  ASSERT_TRUE(generate("x>").ok());
  model_.fail_at_step = static_cast<int>(model_.step_sizes.size()) + 1;
  EXPECT_EQ(generate("y>").status().code(), ErrorCode::kInternal);
  EXPECT_EQ(session_.position(), 4);
  model_.fail_at_step = -1;
  ASSERT_TRUE(generate("y>").ok());
  EXPECT_EQ(history_, ids_of("x>a by>a "));
}

TEST_F(SessionTest, ARunAfterAResetEqualsAFreshOne) {
  options_.temperature = 1.5f;
  options_.seed = 7;
  options_.max_tokens = 30;
  Result<GenerateResult> fresh = generate("x>");
  ASSERT_TRUE(fresh.ok());
  session_.reset();
  Result<GenerateResult> again = generate("x>");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->ids, fresh->ids);
  EXPECT_EQ(again->text, fresh->text);
}

TEST_F(SessionTest, TellsTimes) {
  model_.on_step = [this] { now_ += 2; };
  options_.max_tokens = 4;
  Result<GenerateResult> result = generate("0123>");  // two chunks
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->stats.n_prompt, 5);
  EXPECT_EQ(result->stats.n_generated, 4);
  EXPECT_EQ(result->stats.prompt_seconds, 4);
  EXPECT_EQ(result->stats.first_token_seconds, 4);
  EXPECT_EQ(result->stats.decode_seconds, 6) << "the first token needs no step of its own";
  EXPECT_EQ(result->stats.kv_bytes, 256u);
}

TEST_F(SessionTest, StopReasonsHaveNames) {
  EXPECT_STREQ(stop_reason_name(StopReason::kEndToken), "eos");
  EXPECT_STREQ(stop_reason_name(StopReason::kStopString), "stop");
  EXPECT_STREQ(stop_reason_name(StopReason::kTokenLimit), "length");
  EXPECT_STREQ(stop_reason_name(StopReason::kContextFull), "context");
  EXPECT_STREQ(stop_reason_name(StopReason::kCancelled), "cancelled");
}

}  // namespace
}  // namespace cria

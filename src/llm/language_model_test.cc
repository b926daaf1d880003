#include "llm/language_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/fake_language_model.h"

namespace cria {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kVocab = 10;

class LanguageModelTest : public ::testing::Test {
 protected:
  // The next token is the sum of those before, modulo the vocabulary.
  FakeLanguageModel model_{kVocab, [](const std::vector<std::int32_t>& history) {
                             std::int32_t sum = 0;
                             for (std::int32_t id : history) sum += id;
                             return sum % static_cast<std::int32_t>(kVocab);
                           }};
  KvCache cache_ = *KvCache::allocate(8 * 4);
  std::vector<float> last_ = std::vector<float>(kVocab);

  Status forward(std::vector<std::int32_t> ids) {
    return model_.forward(ids, cache_, LogitRows::kLast, last_);
  }
};

TEST_F(LanguageModelTest, CutsAPromptIntoChunks) {
  ASSERT_TRUE(forward({1, 2, 3, 4, 5, 6}).ok());
  EXPECT_THAT(model_.step_sizes, ElementsAre(4, 2));
  EXPECT_EQ(cache_.position(), 6);
  EXPECT_EQ(last_[1], 1) << "21 modulo 10";
}

TEST_F(LanguageModelTest, GivesTheLogitsOfEveryToken) {
  std::vector<float> all(5 * kVocab);
  ASSERT_TRUE(
      model_.forward(std::vector<std::int32_t>{1, 2, 3, 4, 5}, cache_, LogitRows::kAll, all).ok());
  EXPECT_THAT(model_.step_sizes, ElementsAre(3, 2));
  const int expected[] = {1, 3, 6, 0, 5};
  for (int row = 0; row < 5; ++row) EXPECT_EQ(all[row * kVocab + expected[row]], 1) << row;
}

TEST_F(LanguageModelTest, ChunksOfAnySizeGiveTheSame) {
  ASSERT_TRUE(forward({7, 1, 1, 4, 9, 3, 2}).ok());
  const std::vector<float> whole = last_;
  for (std::int64_t chunk : {1, 2, 3, 7, 100}) {
    cache_.reset();
    model_.mutable_info().prefill_chunk = chunk;
    ASSERT_TRUE(forward({7, 1, 1, 4, 9, 3, 2}).ok());
    EXPECT_EQ(last_, whole) << chunk;
  }
}

TEST_F(LanguageModelTest, BatchesCutPromptsAndChangeNothing) {
  ASSERT_TRUE(forward({7, 1, 1, 4, 9, 3, 2}).ok());
  const std::vector<float> whole = last_;
  const auto steps_with = [this](BatchLimits limits) {
    cache_.reset();
    model_.step_sizes.clear();
    model_.limit_batches(limits);
    EXPECT_TRUE(forward({7, 1, 1, 4, 9, 3, 2}).ok());
    return model_.step_sizes;
  };
  EXPECT_THAT(steps_with({.n_batch = 0, .n_ubatch = 3}), ElementsAre(3, 3, 1));
  EXPECT_EQ(last_, whole);
  EXPECT_THAT(steps_with({.n_batch = 6, .n_ubatch = 0}), ElementsAre(4, 2, 1));
  EXPECT_EQ(last_, whole);
  EXPECT_THAT(steps_with({.n_batch = 5, .n_ubatch = 3}), ElementsAre(3, 2, 2));
  EXPECT_EQ(last_, whole);
  EXPECT_THAT(steps_with({.n_batch = 1, .n_ubatch = 2048}), ElementsAre(1, 1, 1, 1, 1, 1, 1));
  EXPECT_EQ(last_, whole);
  EXPECT_THAT(steps_with({.n_batch = 2048, .n_ubatch = 2048}), ElementsAre(4, 3));
  EXPECT_EQ(last_, whole);
}

TEST_F(LanguageModelTest, BatchesCutStepsWithAllLogits) {
  model_.limit_batches({.n_batch = 0, .n_ubatch = 2});
  std::vector<float> all(5 * kVocab);
  ASSERT_TRUE(
      model_.forward(std::vector<std::int32_t>{1, 2, 3, 4, 5}, cache_, LogitRows::kAll, all).ok());
  EXPECT_THAT(model_.step_sizes, ElementsAre(2, 2, 1));
  const int expected[] = {1, 3, 6, 0, 5};
  for (int row = 0; row < 5; ++row) EXPECT_EQ(all[row * kVocab + expected[row]], 1) << row;
}

TEST_F(LanguageModelTest, RefusesBeforeAnyWork) {
  EXPECT_EQ(forward({}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(forward({1, -1}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(forward({1, kVocab}).code(), ErrorCode::kInvalidArgument);
  last_.resize(kVocab + 1);
  EXPECT_EQ(forward({1}).code(), ErrorCode::kInvalidArgument);
  last_.resize(kVocab);
  EXPECT_EQ(forward({1, 2, 3, 4, 5, 6, 7, 8, 9}).code(), ErrorCode::kOutOfResources);
  model_.mutable_info().verify_chunk = 0;
  EXPECT_EQ(model_.forward(std::vector<std::int32_t>{1}, cache_, LogitRows::kAll, last_).code(),
            ErrorCode::kUnsupported);
  EXPECT_THAT(model_.step_sizes, IsEmpty());
  EXPECT_EQ(cache_.position(), 0);
}

TEST_F(LanguageModelTest, AFullContextIsFineOneMoreIsNot) {
  ASSERT_TRUE(forward({1, 2, 3, 4, 5, 6, 7, 8}).ok());
  EXPECT_EQ(cache_.remaining(), 0);
  EXPECT_EQ(forward({1}).code(), ErrorCode::kOutOfResources);
  EXPECT_EQ(cache_.position(), 8);
}

TEST_F(LanguageModelTest, AFailedChunkLeavesThePosition) {
  ASSERT_TRUE(forward({1}).ok());
  model_.fail_at_step = 2;  // the second chunk of the next prompt
  EXPECT_EQ(forward({1, 2, 3, 4, 5}).code(), ErrorCode::kInternal);
  EXPECT_EQ(cache_.position(), 1);
}

TEST_F(LanguageModelTest, RewindForgets) {
  ASSERT_TRUE(forward({1, 2}).ok());
  ASSERT_TRUE(forward({5, 5, 5}).ok());
  ASSERT_TRUE(cache_.rewind(2).ok());
  ASSERT_TRUE(forward({4}).ok());
  EXPECT_EQ(last_[7], 1);
}

TEST_F(LanguageModelTest, CacheSizesAreChecked) {
  EXPECT_EQ(kv_cache_bytes(model_.info(), 0).status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(kv_cache_bytes(model_.info(), 65).status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(*kv_cache_bytes(model_.info(), 64), 256u);
}

}  // namespace
}  // namespace cria

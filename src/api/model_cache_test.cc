#include "api/model_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/npu_commands/npu_commands.h"
#include "format/plan/plan.h"
#include "tokenizer/tokenizer_blob.h"

namespace cria {
namespace {

// A program from before a format changed must not be taken for a new one: this build could not read
// it.
TEST(ModelCache, TheFormatsOfWhatAProgramHoldsArePartOfItsName) {
  const auto fingerprint = source_fingerprint(CRIA_SOURCE_DIR "/README.md", {});
  ASSERT_TRUE(fingerprint.ok()) << fingerprint.status().message();
  const std::string plan = fmt::format(";plan {};", kPlanVersion);
  const std::string tokenizer = fmt::format(";tokenizer {};", kBlobVersion);
  EXPECT_THAT(*fingerprint, testing::HasSubstr(plan));
  EXPECT_THAT(*fingerprint, testing::HasSubstr(fmt::format(";npu {};", kNpuVersion)));
  ASSERT_THAT(*fingerprint, testing::HasSubstr(tokenizer));
  std::string before = *fingerprint;
  before.replace(before.find(tokenizer), tokenizer.size(),
                 fmt::format(";tokenizer {};", kBlobVersion - 1));
  EXPECT_NE(cache_file_name("m.gguf", {}, before), cache_file_name("m.gguf", {}, *fingerprint));
}

}  // namespace
}  // namespace cria

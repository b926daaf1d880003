#include "model/gguf_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "model/checkpoint_for_test.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

Result<std::unique_ptr<Checkpoint>> open(const GgufBuilder& builder,
                                         const OpenOptions& options = {}) {
  const TemporaryFolder folder;  // the mapping outlives the name
  return open_gguf_checkpoint(folder.write("m.gguf", builder.build()), options);
}

std::string error_of(const GgufBuilder& builder) {
  auto checkpoint = open(builder);
  return checkpoint.ok() ? "no error" : checkpoint.status().message();
}

GgufBuilder with_tokenizer(GgufBuilder builder) {
  builder.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "llama-bpe");
  builder.texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<|begin_of_text|>", "<|eot_id|>"});
  builder.i32s("tokenizer.ggml.token_type", {1, 1, 1, 3, 3});
  builder.texts("tokenizer.ggml.merges", {"a b"});
  builder.u32("tokenizer.ggml.bos_token_id", 3).u32("tokenizer.ggml.eos_token_id", 4);
  return builder.text("tokenizer.chat_template", "{{ bos_token }}");
}

TEST(GgufCheckpoint, ReadsTheConfig) {
  auto opened = open(small_gguf());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const LlamaConfig& config = (*opened)->config();
  EXPECT_EQ(config.n_layers, 2);
  EXPECT_EQ(config.hidden, 8);
  EXPECT_EQ(config.ffn, 12);
  EXPECT_EQ(config.n_heads, 2);
  EXPECT_EQ(config.n_kv_heads, 1);
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.n_vocab, 10);
  EXPECT_EQ(config.max_context, 32);
  EXPECT_EQ(config.norm_epsilon, 1e-5F);
  EXPECT_EQ((*opened)->description(), "GGUF v3, 2 layers, F32");
  EXPECT_EQ((*opened)->vocabulary(), nullptr);
}

TEST(GgufCheckpoint, AppliesRotaryFactorsAndLinearScaling) {
  auto factors = open(small_gguf().tensor("rope_freqs.weight", 0, {2}, floats({1, 8})));
  ASSERT_TRUE(factors.ok()) << factors.status().message();
  const auto plain = small_model_config().rope_inverse_frequencies;
  EXPECT_THAT((*factors)->config().rope_inverse_frequencies, ElementsAre(plain[0], plain[1] / 8));
  auto linear = open(
      small_gguf().text("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 2));
  ASSERT_TRUE(linear.ok()) << linear.status().message();
  EXPECT_THAT((*linear)->config().rope_inverse_frequencies,
              ElementsAre(plain[0] / 2, plain[1] / 2));
  auto none = open(
      small_gguf().text("llama.rope.scaling.type", "none").f32("llama.rope.scaling.factor", 2));
  ASSERT_TRUE(none.ok());
  EXPECT_EQ((*none)->config().rope_inverse_frequencies, plain);
}

TEST(GgufCheckpoint, RefusesBadRotaryFactors) {
  const auto with = [](std::uint32_t type, std::uint64_t n, const std::string& bytes) {
    return error_of(small_gguf().tensor("rope_freqs.weight", type, {n}, bytes));
  };
  EXPECT_THAT(with(0, 3, floats({1, 1, 1})), HasSubstr("is F32 [3], expected F32 [2]"));
  EXPECT_THAT(with(1, 2, "xxxx"), HasSubstr("is F16 [2], expected F32 [2]"));
  EXPECT_THAT(with(0, 2, floats({1, 0})), HasSubstr("element 1 of tensor \"rope_freqs.weight\""));
  EXPECT_THAT(with(0, 2, floats({NAN, 1})), HasSubstr("element 0 of tensor"));
  EXPECT_THAT(with(0, 2, floats({1, 1e-45F})), HasSubstr("rotary frequency 1 is inf"));
}

TEST(GgufCheckpoint, RefusesOtherModelsByName) {
  const auto refused = [](const GgufBuilder& builder, const std::string& why) {
    auto checkpoint = open(builder);
    EXPECT_EQ(checkpoint.status().code(), ErrorCode::kUnsupported) << why;
    EXPECT_THAT(checkpoint.status().message(), AllOf(HasSubstr("m.gguf"), HasSubstr(why)));
  };
  refused(small_gguf().erase("general.architecture").text("general.architecture", "qwen2"),
          "the architecture is \"qwen2\"");
  refused(small_gguf().text("general.type", "adapter"), "general.type is \"adapter\"");
  refused(small_gguf().u32("llama.expert_count", 8), "llama.expert_count is 8");
  refused(small_gguf().f32("llama.logit_scale", 0.5F), "llama.logit_scale is 0.5");
  refused(small_gguf().u32("llama.attention.key_length", 4).u32("llama.attention.value_length", 8),
          "keys of 4 and values of 8");
  refused(small_gguf().u32("llama.rope.dimension_count", 2), "llama.rope.dimension_count is 2");
  refused(small_gguf().text("llama.rope.scaling.type", "yarn"),
          "llama.rope.scaling.type is \"yarn\"");
  refused(small_gguf().tensor("blk.0.attn_q.bias", 0, {8}, std::string(32, '\0')),
          "\"blk.0.attn_q.bias\" is no weight of a Llama decoder");
  refused(small_gguf().tensor("blk.2.attn_norm.weight", 0, {8}, std::string(32, '\0')),
          "\"blk.2.attn_norm.weight\" is no weight");
}

TEST(GgufCheckpoint, NamesMissingKeys) {
  for (const char* key : {"general.architecture", "llama.block_count", "llama.embedding_length",
                          "llama.feed_forward_length", "llama.context_length",
                          "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"}) {
    EXPECT_THAT(error_of(small_gguf().erase(key)),
                HasSubstr(fmt::format("metadata \"{}\" is missing", key)));
  }
  EXPECT_THAT(error_of(small_gguf().erase("llama.block_count").text("llama.block_count", "2")),
              HasSubstr("expected an integer"));
  EXPECT_THAT(
      error_of(
          small_gguf().erase("llama.attention.head_count").u32("llama.attention.head_count", 0)),
      HasSubstr("llama.attention.head_count is 0"));
  EXPECT_THAT(error_of(small_gguf()
                           .u64("llama.attention.key_length", 1ULL << 62)
                           .u64("llama.attention.value_length", 1ULL << 62)
                           .u64("llama.rope.dimension_count", 1ULL << 62)),
              HasSubstr("head_dim is"));
}

TEST(GgufCheckpoint, NamesMissingAndMisshapenWeights) {
  EXPECT_THAT(error_of(small_gguf().erase_tensor("token_embd.weight")),
              HasSubstr("\"token_embd.weight\" is missing"));
  EXPECT_THAT(error_of(small_gguf().erase_tensor("blk.1.ffn_up.weight")),
              HasSubstr("tensor \"blk.1.ffn_up.weight\" is missing, expected with shape [12, 8]"));
  EXPECT_THAT(error_of(small_gguf()
                           .erase_tensor("blk.0.attn_k.weight")
                           .tensor("blk.0.attn_k.weight", 0, {8, 8}, std::string(256, '\0'))),
              HasSubstr("\"blk.0.attn_k.weight\" has shape [8, 8], expected [4, 8]"));
}

TEST(GgufCheckpoint, ReadsTheTokenizer) {
  auto opened = open(with_tokenizer(small_gguf()));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Vocabulary* vocabulary = (*opened)->vocabulary();
  ASSERT_NE(vocabulary, nullptr);
  EXPECT_EQ(vocabulary->tokens.size(), 5U);
  EXPECT_EQ(vocabulary->merges.size(), 1U);
  EXPECT_EQ(vocabulary->bos_id, 3);
  EXPECT_THAT(vocabulary->eos_ids, ElementsAre(4));
  EXPECT_EQ(vocabulary->chat_template, "{{ bos_token }}");
}

TEST(GgufCheckpoint, RefusesATokenizerThatDoesNotFit) {
  EXPECT_THAT(error_of(with_tokenizer(small_gguf())
                           .erase("tokenizer.ggml.tokens")
                           .erase("tokenizer.ggml.token_type")
                           .texts("tokenizer.ggml.tokens",
                                  {"a", "b", "ab", "d", "e", "f", "g", "h", "i", "j", "k"})),
              HasSubstr("the tokenizer has 11 tokens, the model knows 10"));
  EXPECT_THAT(error_of(with_tokenizer(small_gguf())
                           .erase("tokenizer.ggml.tokens")
                           .u32("tokenizer.ggml.tokens", 1)),
              HasSubstr("expected an array of texts"));
  EXPECT_THAT(error_of(with_tokenizer(small_gguf())
                           .erase("tokenizer.ggml.token_type")
                           .texts("tokenizer.ggml.token_type", {"1"})),
              HasSubstr("expected an array of numbers"));
}

TEST(GgufCheckpoint, TakesAnotherTokenizerWhenAsked) {
  const TemporaryFolder folder;
  const std::string tokenizer = folder.write("tokenizer.json", small_tokenizer_json());
  auto opened = open(small_gguf().text("tokenizer.ggml.model", "bert"), {tokenizer});
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->vocabulary()->tokens.size(), 5U);
}

TEST(GgufCheckpoint, OpensEveryTypeOfTheSharedModels) {
  const char* shared = std::getenv("CRIA_SHARED_DATA");
  const std::string folder =
      (shared ? std::string(shared) : CRIA_SOURCE_DIR "/../shared/data") + "/gguf";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "NOT CHECKED: no GGUF files in " << folder;
  const auto frequencies = rope_inverse_frequencies(64, {.theta = 500000, .factor = 32});
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    auto opened = open_checkpoint(entry.path());
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    ++n_files;
    const LlamaConfig& config = (*opened)->config();
    EXPECT_EQ(config.n_layers, 2);
    EXPECT_EQ(config.hidden, 256);
    EXPECT_EQ(config.ffn, 768);
    EXPECT_EQ(config.n_heads, 4);
    EXPECT_EQ(config.n_kv_heads, 2);
    EXPECT_EQ(config.head_dim, 64);
    EXPECT_EQ(config.n_vocab, 320);
    EXPECT_EQ(config.max_context, 131072);
    EXPECT_EQ(config.norm_epsilon, 1e-5F);
    EXPECT_TRUE(config.tied_embeddings);
    ASSERT_EQ(config.rope_inverse_frequencies.size(), 32U);
    for (int i = 0; i < 32; ++i) {
      // The file rounds divisors to float, then the quotient is rounded: two half units each.
      EXPECT_NEAR(config.rope_inverse_frequencies[i] / frequencies[i], 1.0, 4e-7) << i;
    }
    ASSERT_NE((*opened)->vocabulary(), nullptr);
    EXPECT_EQ((*opened)->vocabulary()->tokens.size(), 320U);
    EXPECT_EQ((*opened)->weight("blk.1.attn_q.weight").value()->interleaved_heads, 4);
    EXPECT_EQ((*opened)->weight("blk.1.attn_k.weight").value()->interleaved_heads, 2);
  }
  EXPECT_EQ(n_files, 15);
}

}  // namespace
}  // namespace cria

#include "model/llama2c_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "format/llama2c/llama2c_builder.h"
#include "model/checkpoint_for_test.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr Llama2cShape kShape = {.vocab_size = 300};

// A tokenizer of `n_tokens`: three named ones, the bytes, and short words.
std::string tokenizer_bytes(int n_tokens) {
  std::string bytes;
  const auto append = [&](auto value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  append(std::int32_t{8});
  for (int id = 0; id < n_tokens; ++id) {
    const std::string text = fmt::format("w{}", id);
    append(static_cast<float>(-id));
    append(static_cast<std::int32_t>(text.size()));
    bytes += text;
  }
  return bytes;
}

class Llama2cCheckpointTest : public ::testing::Test {
 protected:
  Llama2cCheckpointTest() : model_(folder_.write("model.bin", llama2c_bytes(kShape))) {}

  std::string error(const OpenOptions& options = {}) {
    auto opened = open_llama2c_checkpoint(model_, options);
    return opened.ok() ? "no error" : opened.status().message();
  }

  TemporaryFolder folder_;
  std::string model_;
};

TEST_F(Llama2cCheckpointTest, ReadsConfigAndWeights) {
  auto opened = open_llama2c_checkpoint(model_, {});
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const LlamaConfig& config = (*opened)->config();
  EXPECT_EQ(config.n_layers, 2);
  EXPECT_EQ(config.hidden, 8);
  EXPECT_EQ(config.ffn, 12);
  EXPECT_EQ(config.head_dim, 2);
  EXPECT_EQ(config.n_vocab, 300);
  EXPECT_EQ(config.max_context, 16);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.rope_inverse_frequencies, std::vector<float>{1});
  EXPECT_EQ((*opened)->description(), "llama2.c v0, 2 layers, F32");
  EXPECT_EQ((*opened)->vocabulary(), nullptr);
  EXPECT_EQ((*opened)->weights().size(), 20U);
  auto gate = (*opened)->weight("blk.1.ffn_gate.weight");
  ASSERT_TRUE(gate.ok());
  EXPECT_EQ((*gate)->file_name, "w1.1");
  EXPECT_EQ((*gate)->n_rows, 12);
  EXPECT_EQ((*opened)->weight("blk.0.attn_q.weight").value()->interleaved_heads, 4);
  EXPECT_EQ((*opened)->weight("blk.0.attn_k.weight").value()->interleaved_heads, 2);
  EXPECT_EQ((*opened)->weight("blk.0.attn_v.weight").value()->interleaved_heads, 0);
}

TEST_F(Llama2cCheckpointTest, ReadsASeparateHeadAndVersion1) {
  for (const int version : {0, 1}) {
    Llama2cShape shape = kShape;
    shape.shared_classifier = false;
    folder_.write("model.bin", llama2c_bytes(shape, version));
    auto opened = open_llama2c_checkpoint(model_, {});
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    EXPECT_FALSE((*opened)->config().tied_embeddings);
    EXPECT_EQ((*opened)->weight("output.weight").value()->n_rows, 300);
  }
}

TEST_F(Llama2cCheckpointTest, ReadsModelsWithASingleKeyRow) {
  // A matrix of one row is still a matrix: one token, and a feed-forward layer of width one.
  const Llama2cShape tiny = {.dim = 2,
                             .hidden_dim = 1,
                             .n_layers = 1,
                             .n_heads = 1,
                             .n_kv_heads = 1,
                             .vocab_size = 1,
                             .seq_len = 1};
  folder_.write("model.bin", llama2c_bytes(tiny));
  EXPECT_EQ(error(), "no error");
}

TEST_F(Llama2cCheckpointTest, FindsTheOneTokenizerThatFits) {
  folder_.write("tok400.bin", tokenizer_bytes(400));
  folder_.write("tok_broken.bin", "broken");
  folder_.write("other.bin", tokenizer_bytes(300));
  auto opened = open_llama2c_checkpoint(model_, {});
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->vocabulary(), nullptr);
  folder_.write("tokenizer.bin", tokenizer_bytes(300));
  opened = open_llama2c_checkpoint(model_, {});
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  ASSERT_NE((*opened)->vocabulary(), nullptr);
  EXPECT_EQ((*opened)->vocabulary()->tokens.size(), 300U);
  EXPECT_EQ((*opened)->vocabulary()->tokens[299].bytes, "w299");
}

TEST_F(Llama2cCheckpointTest, ListsSeveralTokenizers) {
  folder_.write("tok300.bin", tokenizer_bytes(300));
  folder_.write("tokenizer.bin", tokenizer_bytes(300));
  EXPECT_THAT(error(), AllOf(HasSubstr("several tokenizers of 300 tokens"),
                             HasSubstr("tok300.bin, tokenizer.bin")));
  EXPECT_EQ(error({folder_.path() / "tok300.bin"}), "no error");
}

TEST_F(Llama2cCheckpointTest, RefusesAGivenTokenizerThatDoesNotFit) {
  EXPECT_THAT(error({folder_.write("big.bin", tokenizer_bytes(301))}),
              HasSubstr("the tokenizer has 301 tokens, the model knows 300"));
  EXPECT_THAT(error({folder_.path() / "absent.bin"}), HasSubstr("absent.bin: no such file"));
}

TEST(Llama2cCheckpointData, OpensTheTrainedStoriesModel) {
  const char* shared = std::getenv("CRIA_SHARED_DATA");
  const std::string folder = shared ? shared : CRIA_SOURCE_DIR "/../shared/data";
  const std::string path = folder + "/stories260k/stories260K.bin";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "NOT CHECKED: no stories260K at " << path;
  auto opened = open_checkpoint(path);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->config().n_layers, 5);
  EXPECT_EQ((*opened)->config().head_dim, 8);
  EXPECT_EQ((*opened)->config().n_vocab, 512);
  ASSERT_NE((*opened)->vocabulary(), nullptr);
  EXPECT_EQ((*opened)->vocabulary()->tokens.size(), 512U);
}

}  // namespace
}  // namespace cria

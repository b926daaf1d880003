#include "model/hf_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/checkpoint_for_test.h"
#include "model/expected_weights.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

class HfCheckpointTest : public ::testing::Test {
 protected:
  HfCheckpointTest() { write_small_hf_folder(folder_); }

  Result<std::unique_ptr<Checkpoint>> open() { return open_hf_checkpoint(folder_.path(), {}); }
  std::string error() {
    auto checkpoint = open();
    return checkpoint.ok() ? "no error" : checkpoint.status().message();
  }
  void change_config(const char* patch) {
    Json json = Json::parse(small_config_json());
    json.merge_patch(Json::parse(patch));
    folder_.write("config.json", json.dump());
  }
  void write_weights(const SafetensorsBuilder& builder) {
    folder_.write("model.safetensors", builder.build());
  }

  // The shape of the 3B model in bfloat16: 6.4 GB, which are holes in the file. False: not
  // possible.
  bool write_3b_of_holes() {
    change_config(R"({"hidden_size": 3072, "num_hidden_layers": 28, "intermediate_size": 8192,
        "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 128256})");
    LlamaConfig config;
    config.n_layers = 28;
    config.hidden = 3072;
    config.ffn = 8192;
    config.n_heads = 24;
    config.n_kv_heads = 8;
    config.head_dim = 128;
    config.n_vocab = 128256;
    Json header;
    std::uint64_t end = 0;
    for (const ExpectedWeight& weight : expected_weights(config)) {
      const std::uint64_t begin = end;
      std::uint64_t size = sizeof(std::uint16_t);
      for (const std::int64_t dim : weight.shape) size *= static_cast<std::uint64_t>(dim);
      end += size;
      header[weight.hf_name] = {
          {"dtype", "BF16"}, {"shape", weight.shape}, {"data_offsets", {begin, end}}};
    }
    const std::string head = safetensors_bytes(header.dump(), "");
    const std::string path = folder_.write("model.safetensors", head);
    return ::truncate(path.c_str(), static_cast<::off_t>(head.size() + end)) == 0;
  }

  TemporaryFolder folder_;
};

TEST_F(HfCheckpointTest, OpensTheSmallModel) {
  auto opened = open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->description(), "Hugging Face folder, 2 layers, F32");
  EXPECT_TRUE((*opened)->config().tied_embeddings);
  ASSERT_NE((*opened)->vocabulary(), nullptr);
  EXPECT_EQ((*opened)->vocabulary()->bos_id, 3);
}

TEST_F(HfCheckpointTest, TiesTheHeadAsTransformersDoes) {
  const auto is_tied = [&] {
    auto opened = open();
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return opened.ok() && (*opened)->config().tied_embeddings;
  };
  write_weights(small_safetensors(/*tied=*/false));
  EXPECT_FALSE(is_tied());
  change_config(R"({"tie_word_embeddings": false})");
  EXPECT_FALSE(is_tied());
  change_config(R"({"tie_word_embeddings": true})");
  EXPECT_TRUE(is_tied());
  write_weights(small_safetensors(/*tied=*/true));
  EXPECT_TRUE(is_tied());
  change_config(R"({"tie_word_embeddings": false})");
  EXPECT_THAT(error(), HasSubstr("\"lm_head.weight\" is missing"));
}

TEST_F(HfCheckpointTest, ReadsShards) {
  SafetensorsBuilder first = small_safetensors();
  first.erase_tensor("model.norm.weight");
  SafetensorsBuilder second;
  second.tensor("model.norm.weight", "F32", {8}, small_model_row(0, 8));
  std::filesystem::remove(folder_.path() / "model.safetensors");
  folder_.write("model-00001-of-00002.safetensors", first.build());
  folder_.write("model-00002-of-00002.safetensors", second.build());
  Json map;
  for (const ExpectedWeight& weight : expected_weights(small_model_config())) {
    map[weight.hf_name] = "model-00001-of-00002.safetensors";
  }
  map["model.norm.weight"] = "model-00002-of-00002.safetensors";
  folder_.write("model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  EXPECT_EQ(error(), "no error");
  std::filesystem::remove(folder_.path() / "model-00002-of-00002.safetensors");
  EXPECT_THAT(error(), HasSubstr("model-00002-of-00002.safetensors: the index names it"));
}

TEST_F(HfCheckpointTest, NamesWhatIsMissingOrMisshapen) {
  write_weights(small_safetensors().erase_tensor("model.layers.1.mlp.up_proj.weight"));
  EXPECT_THAT(error(), HasSubstr("tensor \"model.layers.1.mlp.up_proj.weight\" is missing, "
                                 "expected with shape [12, 8]"));
  SafetensorsBuilder reshaped = small_safetensors();
  reshaped.erase_tensor("model.norm.weight");
  write_weights(reshaped.tensor("model.norm.weight", "F32", {1, 8}, small_model_row(0, 8)));
  EXPECT_THAT(error(), HasSubstr("\"model.norm.weight\" has shape [1, 8], expected [8]"));
  std::filesystem::remove(folder_.path() / "model.safetensors");
  EXPECT_THAT(error(), HasSubstr("has neither model.safetensors nor"));
  std::filesystem::remove(folder_.path() / "config.json");
  EXPECT_THAT(error(), HasSubstr("no config.json"));
}

TEST_F(HfCheckpointTest, RefusesTensorsItWouldLeaveOut) {
  write_weights(small_safetensors().tensor("model.layers.0.self_attn.q_proj.bias", "F32", {8},
                                           small_model_row(0, 8)));
  EXPECT_THAT(error(), AllOf(HasSubstr("q_proj.bias"), HasSubstr("no weight of a Llama decoder")));
  write_weights(small_safetensors().tensor("model.layers.0.self_attn.rotary_emb.inv_freq", "F32",
                                           {2}, small_model_row(0, 2)));
  EXPECT_EQ(error(), "no error");
}

TEST_F(HfCheckpointTest, ReadsTheFilesAroundTheTokenizer) {
  folder_.write("generation_config.json", R"({"eos_token_id": [4, 2]})");
  folder_.write("chat_template.jinja", "{{ bos_token }}");
  auto opened = open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_THAT((*opened)->vocabulary()->eos_ids, ElementsAre(4, 2));
  EXPECT_EQ((*opened)->vocabulary()->chat_template, "{{ bos_token }}");
  folder_.write("tokenizer.json", "{");
  EXPECT_THAT(error(), HasSubstr("tokenizer.json"));
  std::filesystem::remove(folder_.path() / "tokenizer.json");
  opened = open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->vocabulary(), nullptr);
}

TEST_F(HfCheckpointTest, RefusesATokenizerLargerThanTheModel) {
  folder_.write("tokenizer.model", "YQ== 0\nYg== 1\n");  // 256 special tokens are added
  std::filesystem::remove(folder_.path() / "tokenizer.json");
  EXPECT_THAT(error(), HasSubstr("the tokenizer has 258 tokens, the model knows 10"));
}

// Bytes of memory that this process has to itself (not those shared with the page cache).
std::size_t resident_bytes() {
  std::size_t n_pages = 0, n_resident = 0;
  std::ifstream("/proc/self/statm") >> n_pages >> n_resident;
  return n_resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST_F(HfCheckpointTest, OpeningTouchesNoWeights) {
  if (!write_3b_of_holes()) GTEST_SKIP() << "NOT CHECKED: no files with holes of 6 GB here";
  const std::size_t before = resident_bytes();
  auto opened = open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->weights().size(), 28U * 9 + 2);
  EXPECT_LT(resident_bytes(), before + (std::size_t{16} << 20));
}

TEST_F(HfCheckpointTest, ForgottenWeightsLeaveMemoryAndCanBeReadAgain) {
  if (!write_3b_of_holes()) GTEST_SKIP() << "NOT CHECKED: no files with holes of 6 GB here";
  auto opened = open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const auto weight = (*opened)->weight("blk.3.ffn_down.weight");
  ASSERT_TRUE(weight.ok()) << weight.status().message();
  const std::span<const std::byte> bytes = (*weight)->bytes;  // 50 MB
  const auto n_zeros = [&] { return std::ranges::count(bytes, std::byte{0}); };
  const std::size_t before = resident_bytes();
  EXPECT_EQ(n_zeros(), std::ssize(bytes));
  EXPECT_GT(resident_bytes(), before + bytes.size() / 2);
  (*opened)->forget(**weight);
  EXPECT_LT(resident_bytes(), before + bytes.size() / 8);
  EXPECT_EQ(n_zeros(), std::ssize(bytes));
}

}  // namespace
}  // namespace cria

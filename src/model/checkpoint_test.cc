// The rules that all formats share, and how a format is recognized.
#include "model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "format/llama2c/llama2c_builder.h"
#include "model/checkpoint_for_test.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string error_of(const std::string& path) {
  auto checkpoint = open_checkpoint(path);
  return checkpoint.ok() ? "no error" : checkpoint.status().message();
}

// All rows of all weights, read through row(), have the numbers of small_model_row.
void expect_small_model(const Checkpoint& checkpoint) {
  EXPECT_FALSE(checkpoint.weights().empty());
  for (const StoredWeight& weight : checkpoint.weights()) {
    for (std::int64_t row = 0; row < weight.n_rows; ++row) {
      const std::string expected = small_model_row(row, weight.n_cols);
      const auto found = weight.row(row);
      ASSERT_EQ(found.size(), expected.size()) << weight.name;
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size()), 0)
          << weight.name << " row " << row;
    }
  }
}

TEST(Checkpoint, GgufAndSafetensorsGiveTheSameRows) {
  for (const bool tied : {true, false}) {
    const TemporaryFolder folder;
    write_small_hf_folder(folder);
    folder.write("model.safetensors", small_safetensors(tied).build());
    auto hf = open_checkpoint(folder.path());
    ASSERT_TRUE(hf.ok()) << hf.status().message();
    auto gguf = open_checkpoint(folder.write("m.gguf", small_gguf(tied).build()));
    ASSERT_TRUE(gguf.ok()) << gguf.status().message();
    expect_small_model(**hf);
    expect_small_model(**gguf);
    ASSERT_EQ((*hf)->weights().size(), (*gguf)->weights().size());
    EXPECT_EQ((*hf)->weights().size(), tied ? 20U : 21U);
    for (std::size_t i = 0; i < (*hf)->weights().size(); ++i) {
      const StoredWeight& a = (*hf)->weights()[i];
      const StoredWeight& b = (*gguf)->weights()[i];
      EXPECT_EQ(a.name, b.name);
      EXPECT_EQ(a.n_rows, b.n_rows);
      EXPECT_EQ(a.n_cols, b.n_cols);
      EXPECT_EQ(a.interleaved_heads, 0);
    }
    EXPECT_EQ((*hf)->config().tied_embeddings, tied);
    EXPECT_EQ((*gguf)->config().tied_embeddings, tied);
    EXPECT_EQ((*hf)->config().rope_inverse_frequencies, (*gguf)->config().rope_inverse_frequencies);
  }
}

TEST(Checkpoint, InterleavedRowsComeInHalfSplitOrder) {
  // One head of six rows, stored as the pairs (0, 3), (1, 4), (2, 5); a second one behind it.
  const float stored[12] = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};
  StoredWeight weight;
  weight.n_rows = 12;
  weight.n_cols = 1;
  weight.interleaved_heads = 2;
  weight.bytes = std::as_bytes(std::span(stored));
  for (int row = 0; row < 12; ++row) {
    float value = -1;
    std::memcpy(&value, weight.row(row).data(), sizeof(value));
    EXPECT_EQ(value, static_cast<float>(row));
  }
}

TEST(Checkpoint, FindsWeightsByCanonicalName) {
  const TemporaryFolder folder;
  write_small_hf_folder(folder);
  auto checkpoint = open_checkpoint(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  auto found = (*checkpoint)->weight("blk.1.ffn_down.weight");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ((*found)->file_name, "model.layers.1.mlp.down_proj.weight");
  EXPECT_EQ((*found)->n_rows, 8);
  EXPECT_EQ((*found)->n_cols, 12);
  auto missing = (*checkpoint)->weight("output.weight");
  EXPECT_EQ(missing.status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("\"output.weight\""));
}

TEST(Checkpoint, RecognizesFormatsByContentNotName) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of(folder.write("gguf.bin", small_gguf().build())), "no error");
  EXPECT_EQ(error_of(folder.write("llama2c.gguf", llama2c_bytes({}))), "no error");
  EXPECT_EQ(error_of(folder.write("llama2c.v1", llama2c_bytes({}, 1))), "no error");
}

TEST(Checkpoint, SaysWhatAFileIsInstead) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(folder.path() / "absent"), HasSubstr("absent"));
  EXPECT_THAT(error_of(folder.write("empty", "")), HasSubstr("no checkpoint that cria reads"));
  EXPECT_THAT(error_of(folder.write("text", "hello, hello, hello, hello, hello")),
              AllOf(HasSubstr("text"), HasSubstr("no checkpoint that cria reads")));
  EXPECT_THAT(error_of(folder.write("m.pte", std::string("\x10\0\0\0ET12....", 12))),
              HasSubstr("a compiled program (.pte), expected a checkpoint"));
  EXPECT_THAT(error_of(folder.write("m.safetensors", small_safetensors().build())),
              HasSubstr("name its folder instead"));
  EXPECT_THAT(error_of(folder.write("config.json", small_config_json())),
              HasSubstr("name its folder instead"));
}

}  // namespace
}  // namespace cria

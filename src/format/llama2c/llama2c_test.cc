#include "format/llama2c/llama2c.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "base/mapped_file.h"
#include "format/llama2c/llama2c_builder.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> as_bytes(const std::string& file) {
  return std::as_bytes(std::span(file));
}

std::string error_of(const std::string& file) {
  auto parsed = parse_llama2c(as_bytes(file), "m.bin");
  return parsed.ok() ? "no error" : parsed.status().message();
}

// The number of the first float of a tensor among the weights, which is its value.
int first_float(const Llama2cFile& file, const char* name) {
  const Llama2cTensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) return -1;
  float value = 0;
  std::memcpy(&value, tensor->bytes.data(), sizeof(value));
  return static_cast<int>(value);
}

TEST(Llama2c, FindsEveryTensorOfVersion0) {
  // dim 8, hidden 12, 2 layers, kv 4 wide, 10 tokens, seq 16; offsets counted by hand from run.c.
  const std::string file = llama2c_bytes({});
  auto parsed = parse_llama2c(as_bytes(file), "m.bin");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->version, 0);
  EXPECT_TRUE(parsed->shared_classifier);
  EXPECT_EQ(first_float(*parsed, "token_embedding"), 0);
  EXPECT_EQ(first_float(*parsed, "rms_att.0"), 80);
  EXPECT_EQ(first_float(*parsed, "rms_att.1"), 88);
  EXPECT_EQ(first_float(*parsed, "wq.0"), 96);
  EXPECT_EQ(first_float(*parsed, "wk.0"), 96 + 128);
  EXPECT_EQ(first_float(*parsed, "wv.1"), 96 + 128 + 64 + 32);
  EXPECT_EQ(first_float(*parsed, "wo.0"), 96 + 128 + 128);
  EXPECT_EQ(first_float(*parsed, "rms_ffn.0"), 480);
  EXPECT_EQ(first_float(*parsed, "w1.0"), 496);
  EXPECT_EQ(first_float(*parsed, "w2.0"), 496 + 192);
  EXPECT_EQ(first_float(*parsed, "w3.1"), 496 + 384 + 96);
  EXPECT_EQ(first_float(*parsed, "rms_final"), 496 + 576);
  EXPECT_EQ(parsed->find_tensor("wcls"), nullptr);
  EXPECT_EQ(parsed->find_tensor("wk.1")->n_rows, 4);
  EXPECT_EQ(parsed->find_tensor("w2.1")->n_cols, 12);
}

TEST(Llama2c, ReadsASeparateHead) {
  const std::string file = llama2c_bytes({.shared_classifier = false});
  auto parsed = parse_llama2c(as_bytes(file), "m.bin");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->vocab_size, 10);
  EXPECT_FALSE(parsed->shared_classifier);
  // After rms_final come the rotary tables: 16 positions of one cosine and one sine.
  EXPECT_EQ(first_float(*parsed, "wcls"), first_float(*parsed, "rms_final") + 8 + 32);
}

TEST(Llama2c, FindsEveryTensorOfVersion1) {
  for (const bool shared : {true, false}) {
    const std::string file = llama2c_bytes({.shared_classifier = shared}, 1);
    EXPECT_TRUE(recognizes_llama2c(as_bytes(file)));
    auto parsed = parse_llama2c(as_bytes(file), "m.bin");
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_EQ(parsed->version, 1);
    EXPECT_EQ(first_float(*parsed, "rms_att.1"), 8);
    EXPECT_EQ(first_float(*parsed, "rms_ffn.0"), 16);
    EXPECT_EQ(first_float(*parsed, "rms_final"), 32);
    EXPECT_EQ(first_float(*parsed, "token_embedding"), 40);
    EXPECT_EQ(first_float(*parsed, "wq.0"), 120);
    EXPECT_EQ(first_float(*parsed, "w3.1"), 120 + 384 + 384 + 96);
    EXPECT_EQ(first_float(*parsed, "wcls"), shared ? -1 : 120 + 384 + 576);
  }
}

TEST(Llama2c, RefusesEveryOtherSize) {
  for (const int version : {0, 1}) {
    const std::string file = llama2c_bytes({}, version);
    EXPECT_THAT(error_of(file + "x"), HasSubstr("not a whole llama2.c model"));
    for (std::size_t size = 0; size < file.size(); size += size < 300 ? 1 : 97) {
      EXPECT_THAT(error_of(file.substr(0, size)), HasSubstr("m.bin")) << size;
    }
  }
}

TEST(Llama2c, RefusesSenselessHeaders) {
  const auto with = [](std::size_t index, std::int32_t value) {
    std::string file = llama2c_bytes({});
    std::memcpy(file.data() + 4 * index, &value, sizeof(value));
    EXPECT_FALSE(recognizes_llama2c(as_bytes(file))) << index << " " << value;
    return error_of(file);
  };
  EXPECT_THAT(with(0, -8), HasSubstr("dim is -8"));
  EXPECT_THAT(with(1, 0), HasSubstr("hidden_dim is 0"));
  EXPECT_THAT(with(2, 2000000000), HasSubstr("n_layers is 2000000000"));
  EXPECT_THAT(with(3, 3), HasSubstr("3 heads do not share 8 dimensions"));
  EXPECT_THAT(with(3, 8), HasSubstr("8 heads do not share 8 dimensions in even parts"));
  EXPECT_THAT(with(4, 3), HasSubstr("4 heads cannot share 3 key and value heads"));
  EXPECT_THAT(with(5, INT32_MIN), HasSubstr("vocab_size is 2147483648"));
  EXPECT_THAT(with(6, 0), HasSubstr("seq_len is 0"));
}

TEST(Llama2c, RefusesOtherVersions) {
  const std::string file = llama2c_bytes({}, 2);
  EXPECT_EQ(parse_llama2c(as_bytes(file), "m.bin").status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error_of(file), HasSubstr("llama2.c format version 2; versions 0 and 1"));
}

TEST(Llama2c, OpensTheTrainedStoriesModel) {
  const char* shared = std::getenv("CRIA_SHARED_DATA");
  const std::string folder = shared ? shared : CRIA_SOURCE_DIR "/../shared/data";
  auto mapped = MappedFile::open(folder + "/stories260k/stories260K.bin");
  if (!mapped.ok())
    GTEST_SKIP() << "NOT CHECKED: stories260K (" << mapped.status().message() << ")";
  auto parsed = parse_llama2c(mapped->bytes(), "stories260K.bin");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->dim, 64);
  EXPECT_EQ(parsed->hidden_dim, 172);
  EXPECT_EQ(parsed->n_layers, 5);
  EXPECT_EQ(parsed->n_heads, 8);
  EXPECT_EQ(parsed->n_kv_heads, 4);
  EXPECT_EQ(parsed->vocab_size, 512);
  EXPECT_TRUE(parsed->shared_classifier);
}

}  // namespace
}  // namespace cria

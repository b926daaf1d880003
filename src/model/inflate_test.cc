#include "model/inflate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "ir/evaluate_for_test.h"
#include "model/checkpoint.h"
#include "model/checkpoint_for_test.h"
#include "model/expected_weights.h"
#include "model/graph.h"
#include "model/placement.h"
#include "tensor/float16.h"

namespace cria {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

struct SmallModel {
  LlamaConfig config;
  const char* dtype = "F32";
};

// 2 layers, 4 query heads on 2 key heads of 8.
SmallModel small_model() {
  SmallModel model;
  model.config.n_layers = 2;
  model.config.hidden = 16;
  model.config.ffn = 24;
  model.config.n_heads = 4;
  model.config.n_kv_heads = 2;
  model.config.head_dim = 8;
  model.config.n_vocab = 20;
  model.config.max_context = 64;
  model.config.rope_inverse_frequencies = {1, 1, 1, 1};  // the file's config says which
  return model;
}

// The same function in twice to four times of everything.
LlamaConfig large_sizes() {
  LlamaConfig sizes = small_model().config;
  sizes.n_layers = 5;
  sizes.hidden = 128;
  sizes.ffn = 64;
  sizes.n_heads = 12;
  sizes.n_kv_heads = 4;
  sizes.n_vocab = 50;
  sizes.max_context = 256;
  return sizes;
}

std::string encode(const ir::Matrix& matrix, std::string_view dtype) {
  std::string bytes;
  for (const double element : matrix.elements) {
    const auto value = static_cast<float>(element);
    const std::uint16_t half = dtype == "F16" ? f32_to_f16(value) : f32_to_bf16(value);
    const bool is_float = dtype == "F32";
    bytes.append(
        is_float ? reinterpret_cast<const char*>(&value) : reinterpret_cast<const char*>(&half),
        is_float ? sizeof(value) : sizeof(half));
  }
  return bytes;
}

void write_model(const TemporaryFolder& folder, const SmallModel& model) {
  const LlamaConfig& c = model.config;
  const nlohmann::json config = {{"model_type", "llama"},
                                 {"hidden_size", c.hidden},
                                 {"num_hidden_layers", c.n_layers},
                                 {"intermediate_size", c.ffn},
                                 {"num_attention_heads", c.n_heads},
                                 {"num_key_value_heads", c.n_kv_heads},
                                 {"head_dim", c.head_dim},
                                 {"vocab_size", c.n_vocab},
                                 {"max_position_embeddings", c.max_context},
                                 {"rms_norm_eps", 1e-05},
                                 {"tie_word_embeddings", c.tied_embeddings},
                                 {"rope_theta", 10000.0},
                                 {"rope_scaling",
                                  {{"rope_type", "llama3"},
                                   {"factor", 8.0},
                                   {"low_freq_factor", 1.0},
                                   {"high_freq_factor", 4.0},
                                   {"original_max_position_embeddings", 32}}}};
  folder.write("small/config.json", config.dump());
  folder.write("small/tokenizer.json", small_tokenizer_json());
  SafetensorsBuilder builder;
  for (const ExpectedWeight& weight : expected_weights(c)) {
    const std::int64_t n_rows = weight.shape.size() == 1 ? 1 : weight.shape[0];
    const ir::Matrix numbers =
        ir::random_weight({weight.name, n_rows, weight.shape.back()}, /*seed=*/5);
    builder.tensor(weight.hf_name, model.dtype, weight.shape, encode(numbers, model.dtype));
  }
  folder.write("small/model.safetensors", builder.build());
}

// The logits of every position, in double precision.
ir::Matrix logits_of(const Checkpoint& checkpoint, const std::vector<std::int64_t>& tokens) {
  const ir::Graph graph = build_llama_graph(checkpoint.config(), {.all_logits = true}).value();
  ir::WeightTable table;
  for (const ir::Weight& weight : graph.weights) {
    ir::Matrix matrix(weight.n_rows, weight.n_cols);
    if (weight.name == kRopeFrequencies) {
      std::ranges::copy(checkpoint.config().rope_inverse_frequencies, matrix.elements.begin());
    } else {
      const StoredWeight* stored = checkpoint.weight(weight.name).value();
      std::vector<float> row(weight.n_cols);
      for (std::int64_t i = 0; i < weight.n_rows; ++i) {
        decode_stored_row(stored->type, stored->row(i), row);
        std::ranges::copy(row, matrix.elements.begin() + i * weight.n_cols);
      }
    }
    table[weight.name] = std::move(matrix);
  }
  ir::CacheTable cache;
  return ir::evaluate(graph, table, cache, tokens, 0);
}

class InflateTest : public ::testing::Test {
 protected:
  std::string source() const { return folder_.path() / "small"; }
  std::string out() const { return folder_.path() / "large"; }

  Status inflate(const LlamaConfig& sizes, const Progress& progress = {}) {
    return inflate_checkpoint({source(), sizes, out(), progress}).status();
  }
  std::string error(const LlamaConfig& sizes) { return inflate(sizes).message(); }

  // Largest difference of the logits of the small model's ids over the largest of them; checks that
  // all others lose.
  double relative_difference(const SmallModel& model, const LlamaConfig& sizes) {
    fs::remove_all(out());
    write_model(folder_, model);
    const Status status = inflate(sizes);
    EXPECT_TRUE(status.ok()) << status.message();
    if (!status.ok()) return INFINITY;
    auto small = open_checkpoint(source()), large = open_checkpoint(out());
    EXPECT_TRUE(large.ok()) << large.status().message();
    if (!large.ok()) return INFINITY;
    const std::vector<std::int64_t> tokens = {3, 17, 0, 9, 9, 12, 19, 1, 4, 4, 7, 15};
    const ir::Matrix expected = logits_of(**small, tokens), found = logits_of(**large, tokens);
    double largest = 0, difference = 0;
    for (std::int64_t row = 0; row < expected.n_rows; ++row) {
      for (std::int64_t id = 0; id < found.n_cols; ++id) {
        if (id >= expected.n_cols) {
          EXPECT_LT(found.at(row, id), -1e5) << id;
          continue;
        }
        largest = std::max(largest, std::fabs(expected.at(row, id)));
        difference = std::max(difference, std::fabs(expected.at(row, id) - found.at(row, id)));
      }
    }
    return difference / largest;
  }

  TemporaryFolder folder_;
};

// Evaluated in double precision, so only what is rounded in the files may differ: epsilon, by 2^-24
// of the 1e-5 that it adds to mean squares near 1, and the cancelling constants, 2^-53 of them
// each.
constexpr double kSameHeadSize = 1e-10;

// A larger head size brings three factors with a relative error of 2^-24: in the norm weights, and
// both attention scales. Scores are below 10 here, so weights of the softmax are off by less than
// 10 * 3 * 2^-24 = 1.8e-6, the result of a layer by at most twice that, and those of two layers and
// the normalized head by at most four times.
constexpr double kOtherHeadSize = 1.5e-5;

TEST_F(InflateTest, KeepsTheFunction) {
  EXPECT_LT(relative_difference(small_model(), large_sizes()), kSameHeadSize);
}

TEST_F(InflateTest, KeepsTheFunctionWithLargerHeads) {
  for (const std::int64_t ratio : {2, 3, 4}) {
    LlamaConfig sizes = large_sizes();
    sizes.head_dim *= ratio;
    EXPECT_LT(relative_difference(small_model(), sizes), kOtherHeadSize) << ratio;
  }
}

// The small groups of two query heads in groups of one, so that each key head is there twice.
TEST_F(InflateTest, KeepsTheFunctionInSmallerGroups) {
  LlamaConfig sizes = large_sizes();
  sizes.n_heads = sizes.n_kv_heads = 6;
  EXPECT_LT(relative_difference(small_model(), sizes), kSameHeadSize);
}

TEST_F(InflateTest, KeepsTheFunctionOfEveryKindOfFile) {
  for (const char* dtype : {"F32", "F16", "BF16"}) {
    for (const bool tied : {true, false}) {
      SmallModel model = small_model();
      model.dtype = dtype;
      model.config.tied_embeddings = tied;
      EXPECT_LT(relative_difference(model, large_sizes()), kSameHeadSize) << dtype << tied;
    }
  }
}

TEST_F(InflateTest, KeepsTypesAndFilesAndSaysHowMuch) {
  SmallModel model = small_model();
  model.dtype = "BF16";
  write_model(folder_, model);
  folder_.write("small/generation_config.json", "{\"eos_token_id\": 4}");
  std::uint64_t done = 0, total = 0;
  const auto summary = inflate_checkpoint(
      {source(), large_sizes(), out(), [&](std::string_view, std::uint64_t d, std::uint64_t t) {
         EXPECT_GE(d, done);
         done = d;
         total = t;
         return true;
       }});
  ASSERT_TRUE(summary.ok()) << summary.status().message();
  EXPECT_EQ(done, total);
  EXPECT_EQ(summary->file_bytes, fs::file_size(fs::path(out()) / "model.safetensors"));
  auto large = open_checkpoint(out());
  ASSERT_TRUE(large.ok());
  EXPECT_EQ((*large)->weight("blk.4.attn_q.weight").value()->type, StorageType::kBF16);
  EXPECT_EQ((*large)->weight("blk.4.attn_norm.weight").value()->type, StorageType::kF32);
  EXPECT_EQ((*large)->vocabulary()->tokens.size(), 5U);
  EXPECT_TRUE(fs::exists(fs::path(out()) / "generation_config.json"));
  EXPECT_FALSE(fs::exists(fs::path(out()) / "chat_template.jinja"));
}

TEST_F(InflateTest, RefusesShapesThatCannotHoldTheModel) {
  write_model(folder_, small_model());
  const auto with = [](std::int64_t LlamaConfig::*member, std::int64_t value) {
    LlamaConfig sizes = large_sizes();
    sizes.*member = value;
    return sizes;
  };
  EXPECT_THAT(error(with(&LlamaConfig::n_layers, 1)), HasSubstr("1 layers: fewer than the 2"));
  EXPECT_THAT(error(with(&LlamaConfig::hidden, 96)), HasSubstr("multiple of 64"));
  EXPECT_THAT(error(with(&LlamaConfig::head_dim, 12)), HasSubstr("multiple of 8"));
  LlamaConfig sizes = with(&LlamaConfig::head_dim, 16);
  sizes.hidden = 64;
  EXPECT_THAT(error(sizes), HasSubstr("at least 128"));
  sizes = with(&LlamaConfig::n_kv_heads, 3);
  sizes.n_heads = 3;
  EXPECT_THAT(error(sizes), HasSubstr("3 query heads: fewer than the 4"));
  SmallModel groups_of_three = small_model();
  groups_of_three.config.n_heads = 6;
  write_model(folder_, groups_of_three);
  sizes.n_heads = 6;
  EXPECT_THAT(error(sizes), HasSubstr("groups of 3 need 4 key heads"));
}

TEST_F(InflateTest, LeavesNothingAfterAnError) {
  write_model(folder_, small_model());
  int n_reports = 0;
  const Status status = inflate(large_sizes(), [&](auto, auto, auto) { return ++n_reports < 5; });
  EXPECT_EQ(status.code(), ErrorCode::kCancelled);
  EXPECT_FALSE(fs::exists(out()));
  folder_.write("large/precious", "x");
  EXPECT_THAT(error(large_sizes()), HasSubstr("not an empty folder"));
  EXPECT_TRUE(fs::exists(fs::path(out()) / "precious"));
}

TEST_F(InflateTest, TakesOnlyHuggingFaceFolders) {
  const std::string gguf = folder_.write("model.gguf", small_gguf().build());
  const auto result = inflate_checkpoint({gguf, large_sizes(), out(), {}});
  EXPECT_EQ(result.status().code(), ErrorCode::kUnsupported);
}

TEST(NamedShapes, HoldTheModelsThatShip) {
  for (const char* name : {"cria-tiny", "cria-draft"}) {
    auto model = open_checkpoint(CRIA_SOURCE_DIR "/models/" + std::string(name));
    ASSERT_TRUE(model.ok()) << model.status().message();
    for (const NamedShape& shape : named_shapes()) {
      const auto placement = Placement::create((*model)->config(), shape.sizes);
      EXPECT_TRUE(placement.ok()) << name << shape.name << placement.status().message();
    }
  }
}

}  // namespace
}  // namespace cria

#include "model/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/checkpoint_for_test.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

// The small config with members changed ("null" removes one).
Result<HfConfig> read_with(const char* patch) {
  Json json = Json::parse(small_config_json());
  json.merge_patch(Json::parse(patch));
  return read_hf_config(json.dump(), "m/config.json");
}

std::string error_with(const char* patch) {
  auto config = read_with(patch);
  return config.ok() ? "no error" : config.status().message();
}

TEST(HfConfig, ReadsTheSmallModel) {
  auto read = read_with("{}");
  ASSERT_TRUE(read.ok()) << read.status().message();
  const LlamaConfig expected = small_model_config();
  EXPECT_EQ(read->config.n_layers, expected.n_layers);
  EXPECT_EQ(read->config.hidden, expected.hidden);
  EXPECT_EQ(read->config.ffn, expected.ffn);
  EXPECT_EQ(read->config.n_heads, expected.n_heads);
  EXPECT_EQ(read->config.n_kv_heads, expected.n_kv_heads);
  EXPECT_EQ(read->config.head_dim, expected.head_dim);
  EXPECT_EQ(read->config.n_vocab, expected.n_vocab);
  EXPECT_EQ(read->config.max_context, expected.max_context);
  EXPECT_EQ(read->config.norm_epsilon, 1e-5F);
  EXPECT_EQ(read->config.rope_inverse_frequencies, expected.rope_inverse_frequencies);
  EXPECT_EQ(read->tie_word_embeddings, std::nullopt);
}

TEST(HfConfig, ReadsThePublishedConfigOfLlama32) {
  const char* text = R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
    "attention_dropout": 0.0, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009],
    "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
    "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16,
    "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128256})";
  auto read = read_hf_config(text, "config.json");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->config.head_dim, 64);
  EXPECT_EQ(read->config.max_context, 131072);
  EXPECT_EQ(read->tie_word_embeddings, true);
  EXPECT_EQ(read->config.rope_inverse_frequencies,
            rope_inverse_frequencies(64, {.theta = 500000, .factor = 32}));
}

TEST(HfConfig, FillsInTheDefaultsOfTransformers) {
  auto read = read_with(R"({"num_key_value_heads": null, "rms_norm_eps": null, "rope_theta": null,
                            "max_position_embeddings": null, "architectures": null})");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->config.n_kv_heads, 2);
  EXPECT_EQ(read->config.norm_epsilon, 1e-6F);
  EXPECT_EQ(read->config.max_context, 2048);
  EXPECT_EQ(read->config.rope_inverse_frequencies, rope_inverse_frequencies(4, {.theta = 10000}));
}

TEST(HfConfig, ReadsEverySpellingOfRotaryScaling) {
  const auto frequencies = [](const char* patch) {
    auto read = read_with(patch);
    EXPECT_TRUE(read.ok()) << patch << ": " << read.status().message();
    return read.ok() ? read->config.rope_inverse_frequencies : std::vector<float>();
  };
  const RopeScaling llama3 = {.theta = 500000, .factor = 8, .original_context = 16};
  const auto expected = rope_inverse_frequencies(4, llama3);
  constexpr const char* kFields = R"("factor": 8.0, "low_freq_factor": 1.0,
      "high_freq_factor": 4.0, "original_max_position_embeddings": 16)";
  for (const char* key : {"rope_type", "type"}) {
    EXPECT_EQ(
        frequencies(
            fmt::format(R"({{"rope_scaling": {{"{}": "llama3", {}}}}})", key, kFields).c_str()),
        expected);
  }
  EXPECT_EQ(frequencies(fmt::format(R"({{"rope_theta": null, "rope_parameters":
                {{"rope_type": "llama3", "rope_theta": 500000.0, {}}}}})",
                                    kFields)
                            .c_str()),
            expected);
  const RopeScaling linear = {.theta = 500000, .factor = 2, .original_context = 0};
  EXPECT_EQ(frequencies(R"({"rope_scaling": {"type": "linear", "factor": 2}})"),
            rope_inverse_frequencies(4, linear));
  EXPECT_EQ(frequencies(R"({"rope_parameters": {"rope_type": "default", "rope_theta": 500000}})"),
            small_model_config().rope_inverse_frequencies);
}

TEST(HfConfig, RefusesOtherModelsByName) {
  EXPECT_THAT(error_with(R"({"model_type": "mistral"})"),
              AllOf(HasSubstr("m/config.json"), HasSubstr("model_type is \"mistral\"")));
  EXPECT_EQ(read_with(R"({"model_type": "mistral"})").status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error_with(R"({"model_type": null})"), HasSubstr("model_type is \"\""));
  EXPECT_THAT(error_with(R"({"architectures": ["LlamaForSequenceClassification"]})"),
              HasSubstr("LlamaForSequenceClassification"));
  EXPECT_THAT(error_with(R"({"architectures": [1]})"), HasSubstr("only LlamaForCausalLM"));
  EXPECT_THAT(error_with(R"({"hidden_act": "gelu"})"), HasSubstr("hidden_act is \"gelu\""));
  EXPECT_THAT(error_with(R"({"attention_bias": true})"), HasSubstr("attention_bias is true"));
  EXPECT_THAT(error_with(R"({"mlp_bias": true})"), HasSubstr("mlp_bias is true"));
  EXPECT_THAT(error_with(R"({"partial_rotary_factor": 0.5})"),
              HasSubstr("partial_rotary_factor is 0.5"));
  EXPECT_THAT(error_with(R"({"quantization_config": {"quant_method": "hqq", "bits": 4}})"),
              HasSubstr("quantized by \"hqq\"; only gptq, awq and exl2 are supported"));
  EXPECT_THAT(error_with(R"({"quantization_config": {}})"), HasSubstr("quantized by \"unnamed\""));
  EXPECT_THAT(error_with(R"({"rope_scaling": {"rope_type": "yarn", "factor": 2}})"),
              HasSubstr("the rotary scaling is \"yarn\""));
}

TEST(HfConfig, NamesWhatIsMissingOrWrong) {
  for (const char* member : {"hidden_size", "num_hidden_layers", "intermediate_size",
                             "num_attention_heads", "vocab_size"}) {
    EXPECT_THAT(error_with(fmt::format(R"({{"{}": null}})", member).c_str()),
                HasSubstr(fmt::format("\"{}\" is missing", member)));
    EXPECT_THAT(error_with(fmt::format(R"({{"{}": "8"}})", member).c_str()),
                HasSubstr("is a string, expected an integer"));
  }
  EXPECT_THAT(error_with(R"({"num_attention_heads": 0})"), HasSubstr("num_attention_heads is 0"));
  EXPECT_THAT(error_with(R"({"head_dim": 1e3})"), HasSubstr("\"head_dim\" is a number"));
  EXPECT_THAT(error_with(R"({"head_dim": 9000000000000000000})"), HasSubstr("head_dim is"));
  EXPECT_THAT(error_with(R"({"num_hidden_layers": 100000})"), HasSubstr("n_layers is 100000"));
  EXPECT_THAT(error_with(R"({"rope_theta": 0})"), HasSubstr("rope_theta is 0"));
  EXPECT_THAT(error_with(R"({"rope_scaling": []})"), HasSubstr("expected an object"));
  EXPECT_THAT(error_with(R"({"rope_scaling": {"type": "linear"}})"),
              HasSubstr("\"factor\" is missing"));
  EXPECT_THAT(error_with(R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4,
                "high_freq_factor": 4, "original_max_position_embeddings": 16}})"),
              HasSubstr("expected 0 < low < high"));
  EXPECT_FALSE(read_hf_config("[]", "config.json").ok());
  EXPECT_FALSE(read_hf_config("{", "config.json").ok());
}

}  // namespace
}  // namespace cria

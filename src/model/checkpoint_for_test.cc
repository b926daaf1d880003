#include "model/checkpoint_for_test.h"

#include <unistd.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/expected_weights.h"
#include "tokenizer/pretokenizer.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

// The row order of llama.cpp's converter: [heads, 2, half] -> [heads, half, 2].
std::vector<std::int64_t> interleaved_order(std::int64_t n_rows, std::int64_t n_heads) {
  const std::int64_t half = n_rows / n_heads / 2;
  std::vector<std::int64_t> order;
  for (std::int64_t head = 0; head < n_heads; ++head) {
    for (std::int64_t i = 0; i < half; ++i) {
      for (std::int64_t part = 0; part < 2; ++part) {
        order.push_back((head * 2 + part) * half + i);
      }
    }
  }
  return order;
}

std::string rows_of(const ExpectedWeight& weight, bool interleaved) {
  const std::int64_t n_rows = weight.shape.size() == 1 ? 1 : weight.shape[0];
  std::vector<std::int64_t> order;
  for (std::int64_t row = 0; row < n_rows; ++row) order.push_back(row);
  if (interleaved && weight.rotary_heads > 0) {
    order = interleaved_order(n_rows, weight.rotary_heads);
  }
  std::string bytes;
  for (const std::int64_t row : order) bytes += small_model_row(row, weight.shape.back());
  return bytes;
}

LlamaConfig small_config(bool tied) {
  LlamaConfig config = small_model_config();
  config.tied_embeddings = tied;
  return config;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  static std::atomic<int> n_made = 0;
  path_ = fs::temp_directory_path() / fmt::format("cria-model-{}-{}", ::getpid(), n_made++);
  fs::create_directories(path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string TemporaryFolder::write(const std::string& name, std::string_view bytes) const {
  const fs::path file = path_ / name;
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << bytes;
  return file;
}

LlamaConfig small_model_config() {
  LlamaConfig config;
  config.n_layers = 2;
  config.hidden = 8;
  config.ffn = 12;
  config.n_heads = 2;
  config.n_kv_heads = 1;
  config.head_dim = 4;
  config.n_vocab = 10;
  config.max_context = 32;
  config.rope_inverse_frequencies = rope_inverse_frequencies(4, {.theta = 500000});
  return config;
}

std::string small_model_row(std::int64_t row, std::int64_t n_cols) {
  std::string bytes;
  for (std::int64_t c = 0; c < n_cols; ++c) {
    const auto value = static_cast<float>(1000 * row + c);
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return bytes;
}

GgufBuilder small_gguf(bool tied) {
  GgufBuilder builder;
  builder.text("general.architecture", "llama").u32("llama.block_count", 2);
  builder.u32("llama.embedding_length", 8).u32("llama.feed_forward_length", 12);
  builder.u32("llama.context_length", 32).u32("llama.attention.head_count", 2);
  builder.u32("llama.attention.head_count_kv", 1).f32("llama.rope.freq_base", 500000.0F);
  builder.f32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  for (const ExpectedWeight& weight : expected_weights(small_config(tied))) {
    const std::vector<std::uint64_t> dims(weight.shape.rbegin(), weight.shape.rend());
    builder.tensor(weight.name, 0, dims, rows_of(weight, /*interleaved=*/true));
  }
  return builder;
}

SafetensorsBuilder small_safetensors(bool tied) {
  SafetensorsBuilder builder;
  for (const ExpectedWeight& weight : expected_weights(small_config(tied))) {
    builder.tensor(weight.hf_name, "F32", weight.shape, rows_of(weight, /*interleaved=*/false));
  }
  return builder;
}

std::string small_config_json() {
  return R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
    "num_hidden_layers": 2, "intermediate_size": 12, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 10, "max_position_embeddings": 32,
    "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "hidden_act": "silu",
    "attention_bias": false, "mlp_bias": false, "torch_dtype": "bfloat16"})";
}

std::string small_tokenizer_json() {
  using Json = nlohmann::json;
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", kLlama3Pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const auto special = [](int id, const char* text) {
    return Json{{"id", id}, {"content", text}, {"special", true}};
  };
  const Json tokenizer = {
      {"model",
       {{"type", "BPE"},
        {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}},
        {"merges", {"a b"}},
        {"ignore_merges", true}}},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}},
      {"added_tokens", {special(3, "<|begin_of_text|>"), special(4, "<|end_of_text|>")}}};
  return tokenizer.dump();
}

void write_small_hf_folder(const TemporaryFolder& folder) {
  folder.write("config.json", small_config_json());
  folder.write("model.safetensors", small_safetensors().build());
  folder.write("tokenizer.json", small_tokenizer_json());
}

}  // namespace cria

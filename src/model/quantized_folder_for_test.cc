#include "model/quantized_folder_for_test.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "model/expected_weights.h"
#include "tensor/float16.h"
#include "tensor/packed_layouts_for_test.h"

namespace cria {
namespace {

using Json = nlohmann::json;

// Calls pack(module, weight) for the linears; embedding and norms are half floats.
template <typename Pack>
QuantizedModel model_of(const Json& quantization_config, const Pack& pack) {
  QuantizedModel model;
  model.quantization_config = quantization_config.dump();
  std::mt19937 random(1);
  for (const ExpectedWeight& weight : expected_weights(quantized_model_config())) {
    if (weight.shape.size() == 2 && weight.name != "token_embd.weight") {
      pack(model, weight.hf_name.substr(0, weight.hf_name.rfind('.')) + ".", weight);
      continue;
    }
    std::string halves;
    std::int64_t n = 1;
    for (const std::int64_t dim : weight.shape) n *= dim;
    for (std::int64_t i = 0; i < n; ++i) {
      const float value =
          static_cast<float>(random() % 1000) / 1000 + (weight.shape.size() == 1 ? 0.5F : -0.5F);
      const std::uint16_t half = f32_to_f16(value);
      halves.append(reinterpret_cast<const char*>(&half), 2);
    }
    model.tensors.tensor(weight.hf_name, "F16", weight.shape, halves);
  }
  return model;
}

std::uint32_t seed_of(const ExpectedWeight& weight) {
  return static_cast<std::uint32_t>(std::hash<std::string>()(weight.name));
}

void add_grouped(QuantizedModel& model, const std::string& module, const IntegerMatrix& m,
                 const GptqBytes& bytes, bool is_awq) {
  const std::int64_t words = m.n_rows * m.bits / 32;
  const std::vector<std::int64_t> codes =
      is_awq ? std::vector{m.n_cols, words} : std::vector{m.n_cols * m.bits / 32, m.n_rows};
  model.tensors.tensor(module + "qweight", "I32", codes, bytes.qweight);
  model.tensors.tensor(module + "qzeros", "I32", {m.n_groups, words}, bytes.qzeros);
  model.tensors.tensor(module + "scales", "F16", {m.n_groups, m.n_rows}, bytes.scales);
  if (!is_awq) model.tensors.tensor(module + "g_idx", "I32", {m.n_cols}, bytes.g_idx);
}

void add_exl2(QuantizedModel& model, const std::string& module, const Exl2Matrix& m,
              bool short_permutation) {
  const Exl2Bytes bytes = exl2_bytes(m);
  const auto n_groups = static_cast<std::int64_t>(m.group_bits.size());
  model.tensors.tensor(module + "q_weight", "I32", {bytes.n_words, bytes.n_padded}, bytes.q_weight);
  model.tensors.tensor(module + "q_scale", "I32", {n_groups, bytes.n_padded / 8}, bytes.q_scale);
  model.tensors.tensor(module + "q_scale_max", "F16", {n_groups}, bytes.q_scale_max);
  model.tensors.tensor(module + "q_groups", "I16", {2 * n_groups}, bytes.q_groups);
  model.tensors.tensor(module + "q_invperm", short_permutation ? "I16" : "I32", {m.n_cols},
                       short_permutation ? bytes.q_invperm_i16 : bytes.q_invperm_i32);
}

template <typename Matrix>
void remember(QuantizedModel& model, const std::string& name, Matrix matrix) {
  const auto shared = std::make_shared<Matrix>(std::move(matrix));
  model.weights[name] = [shared](std::int64_t row, std::int64_t column) {
    return shared->weight(row, column);
  };
}

}  // namespace

LlamaConfig quantized_model_config() {
  LlamaConfig config;
  config.n_layers = 2;
  config.hidden = 64;
  config.ffn = 96;
  config.n_heads = 2;
  config.n_kv_heads = 1;
  config.head_dim = 32;
  config.n_vocab = 40;
  config.max_context = 32;
  config.tied_embeddings = true;
  config.rope_inverse_frequencies = rope_inverse_frequencies(32, {.theta = 500000});
  return config;
}

QuantizedModel small_gptq_model(const GptqModelOptions& options) {
  const Json config = {{"quant_method", "gptq"},
                       {"bits", options.bits},
                       {"group_size", options.group_size},
                       {"sym", options.symmetric},
                       {"desc_act", options.order == GroupOrder::kShuffled},
                       {"checkpoint_format", options.version_1 ? "gptq" : "gptq_v2"}};
  return model_of(
      config, [&](QuantizedModel& model, const std::string& module, const ExpectedWeight& weight) {
        IntegerMatrix m = random_integer_matrix({.bits = options.bits,
                                                 .n_rows = weight.shape[0],
                                                 .n_cols = weight.shape[1],
                                                 .group_size = options.group_size,
                                                 .symmetric = options.symmetric},
                                                seed_of(weight));
        if (options.order == GroupOrder::kShuffled) {
          std::shuffle(m.group_of_column.begin(), m.group_of_column.end(), std::mt19937(2));
        }
        add_grouped(model, module, m, gptq_bytes(m, options.version_1), /*is_awq=*/false);
        remember(model, weight.name, std::move(m));
      });
}

QuantizedModel small_awq_model() {
  const Json config = {{"quant_method", "awq"},
                       {"bits", 4},
                       {"group_size", 32},
                       {"zero_point", true},
                       {"version", "gemm"}};
  return model_of(
      config, [](QuantizedModel& model, const std::string& module, const ExpectedWeight& weight) {
        IntegerMatrix m = random_integer_matrix(
            {.n_rows = weight.shape[0], .n_cols = weight.shape[1]}, seed_of(weight));
        add_grouped(model, module, m, awq_bytes(m), /*is_awq=*/true);
        remember(model, weight.name, std::move(m));
      });
}

QuantizedModel small_exl2_model(GroupOrder order, bool with_head) {
  const bool permuted = order == GroupOrder::kShuffled;
  const Json config = {
      {"quant_method", "exl2"}, {"version", "0.2.4"}, {"bits", 4.25}, {"head_bits", 6}};
  QuantizedModel model = model_of(
      config, [&](QuantizedModel& model, const std::string& module, const ExpectedWeight& weight) {
        const bool first = weight.name.starts_with("blk.0.");
        const std::int64_t rest = weight.shape[1] - 64;
        std::vector<int> bits = first ? std::vector{5, 4} : std::vector{8, 6};
        std::vector<std::int64_t> cols = {32, 32};
        if (rest > 0) {
          bits.push_back(first ? 2 : 3);
          cols.push_back(rest);
        }
        Exl2Matrix m = random_exl2_matrix(weight.shape[0], bits, cols, permuted, seed_of(weight));
        add_exl2(model, module, m, /*short_permutation=*/first);
        remember(model, weight.name, std::move(m));
      });
  if (!with_head) return model;
  Exl2Matrix head = random_exl2_matrix(quantized_model_config().n_vocab, {6}, {64}, permuted, 6);
  add_exl2(model, "lm_head.", head, /*short_permutation=*/true);
  remember(model, "output.weight", std::move(head));
  return model;
}

void write_quantized_folder(const TemporaryFolder& folder, const QuantizedModel& model) {
  Json config = Json::parse(small_config_json());
  config.merge_patch(
      Json::parse(R"({"hidden_size": 64, "intermediate_size": 96, "vocab_size": 40, "head_dim": 32,
                                     "tie_word_embeddings": true})"));
  config["quantization_config"] = Json::parse(model.quantization_config);
  folder.write("config.json", config.dump());
  folder.write("model.safetensors", model.tensors.build());
  folder.write("tokenizer.json", small_tokenizer_json());
}

}  // namespace cria

#include "model_shape.h"

#include <nlohmann/json.hpp>

#include "model/hf_config.h"

namespace cria {
namespace {

constexpr ModelShape kShapes[] = {
    {"1b", 16, 2048, 8192, 32, 8, 64, 128256, 131072},
    {"3b", 28, 3072, 8192, 24, 8, 128, 128256, 131072},
    {"small", 2, 256, 512, 4, 2, 64, 512, 2048},
};

}  // namespace

std::span<const ModelShape> model_shapes() { return kShapes; }

std::string config_json(const ModelShape& shape) {
  const nlohmann::ordered_json rope = {{"rope_type", "llama3"},
                                       {"factor", 32.0},
                                       {"low_freq_factor", 1.0},
                                       {"high_freq_factor", 4.0},
                                       {"original_max_position_embeddings", 8192}};
  const nlohmann::ordered_json config = {{"architectures", {"LlamaForCausalLM"}},
                                         {"model_type", "llama"},
                                         {"hidden_act", "silu"},
                                         {"num_hidden_layers", shape.n_layers},
                                         {"hidden_size", shape.hidden},
                                         {"intermediate_size", shape.ffn},
                                         {"num_attention_heads", shape.n_heads},
                                         {"num_key_value_heads", shape.n_kv_heads},
                                         {"head_dim", shape.head_dim},
                                         {"vocab_size", shape.n_vocab},
                                         {"max_position_embeddings", shape.max_context},
                                         {"rms_norm_eps", 1e-5},
                                         {"rope_theta", 500000.0},
                                         {"tie_word_embeddings", true},
                                         {"torch_dtype", "float16"},
                                         {"rope_scaling", rope}};
  return config.dump(2) + "\n";
}

Result<LlamaConfig> config_of(const ModelShape& shape) {
  CRIA_ASSIGN_OR_RETURN(HfConfig read, read_hf_config(config_json(shape), shape.name));
  read.config.tied_embeddings = read.tie_word_embeddings.value_or(true);
  return std::move(read.config);
}

}  // namespace cria

#include "model/config_json.h"

namespace cria {

nlohmann::ordered_json config_json(const LlamaConfig& config) {
  return {{"n_layers", config.n_layers},
          {"hidden", config.hidden},
          {"ffn", config.ffn},
          {"n_heads", config.n_heads},
          {"n_kv_heads", config.n_kv_heads},
          {"head_dim", config.head_dim},
          {"n_vocab", config.n_vocab},
          {"max_context", config.max_context},
          {"norm_epsilon", config.norm_epsilon},
          {"tied_embeddings", config.tied_embeddings}};
}

}  // namespace cria

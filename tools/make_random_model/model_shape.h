// The shapes of models that speed is measured with.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "model/config.h"

namespace cria {

struct ModelShape {
  const char* name;
  std::int64_t n_layers, hidden, ffn, n_heads, n_kv_heads, head_dim, n_vocab, max_context;
};

std::span<const ModelShape> model_shapes();

// The config.json of a Hugging Face folder, rotary scaling and tied embeddings as Llama 3.2 has
// them.
std::string config_json(const ModelShape& shape);
// The same as what a checkpoint of it gives.
Result<LlamaConfig> config_of(const ModelShape& shape);

}  // namespace cria

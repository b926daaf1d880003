#include "model/linear_inputs.h"

#include <fmt/format.h>

namespace cria {

std::vector<LinearInputShape> linear_inputs(const LlamaConfig& config) {
  std::vector<LinearInputShape> inputs;
  for (std::int64_t layer = 0; layer < config.n_layers; ++layer) {
    const auto add = [&](const char* name, std::int64_t n_cols) {
      inputs.push_back({fmt::format("blk.{}.{}", layer, name), n_cols});
    };
    add("attn_in", config.hidden);
    add("attn_mixed", config.n_heads * config.head_dim);
    add("ffn_in", config.hidden);
    add("ffn_active", config.ffn);
  }
  inputs.push_back({"output_in", config.hidden});
  return inputs;
}

}  // namespace cria

// The decoder of Llama 3.2 as a graph of primitive ops.
#pragma once

#include <string>

#include "base/result.h"
#include "ir/graph.h"
#include "model/config.h"

namespace cria {

struct GraphOptions {
  std::string name = "forward";  // the method's name
  bool all_logits = false;       // logits of every row, else of the last row only
};

// Inputs: tokens i64[S], position i64[1] (of the first token). Output: logits f32[S or 1, n_vocab].
// Weights by canonical name (model/checkpoint.h) and kRopeFrequencies, a vector [head_dim / 2].
// Fails where validate_config fails.
Result<ir::Graph> build_llama_graph(const LlamaConfig& config, const GraphOptions& options);

// The name of config.rope_inverse_frequencies as a weight.
inline constexpr const char* kRopeFrequencies = "rope.inverse_frequencies";

}  // namespace cria

// The shape of a Llama 3.2 decoder, from whichever file described it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace cria {

// All sizes in elements. Validated (validate_config): positive, consistent, within sane limits.
struct LlamaConfig {
  std::int64_t n_layers = 0;
  std::int64_t hidden = 0;      // width of the residual stream
  std::int64_t ffn = 0;         // width of the feed-forward layer
  std::int64_t n_heads = 0;     // query heads
  std::int64_t n_kv_heads = 0;  // divides n_heads
  std::int64_t head_dim = 0;    // even
  std::int64_t n_vocab = 0;
  std::int64_t max_context = 0;  // positions the checkpoint was made for
  float norm_epsilon = 1e-5f;
  bool tied_embeddings = true;  // the head is the embedding table
  // One inverse frequency a pair of a head, [head_dim / 2], all scaling (llama3, rope_freqs.weight,
  // linear) applied.
  std::vector<float> rope_inverse_frequencies;
};

// llama3 rope scaling: theta^(-2i/d), then wavelengths longer than original/low divided by factor,
// those shorter than original/high kept, blended between. factor == 1 means none;
// original_context == 0 makes it linear scaling: every frequency is divided by factor.
// REQUIRES: low_frequency_factor < high_frequency_factor, both positive,
// head_dim within validate_sizes's limits.
struct RopeScaling {
  double theta = 10000.0;
  double factor = 1.0;
  double low_frequency_factor = 1.0;
  double high_frequency_factor = 4.0;
  double original_context = 8192;
};
std::vector<float> rope_inverse_frequencies(std::int64_t head_dim, const RopeScaling& scaling);

// kBadInput, naming the field, what it is and what was expected.
Status validate_config(const LlamaConfig& config);

// validate_config without the rotary frequencies: readers ask before they compute those from
// head_dim.
Status validate_sizes(const LlamaConfig& config);

}  // namespace cria

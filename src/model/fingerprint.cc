#include "model/fingerprint.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

namespace cria {
namespace {

constexpr std::uint64_t kSeed = 0xcbf29ce484222325;

std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
  return std::rotl(hash ^ word, 29) * 0x9e3779b97f4a7c15;
}

// The layer in "blk.3.attn_q.weight"; `n_layers` for names without.
std::size_t layer_of(std::string_view name, std::int64_t n_layers) {
  constexpr std::string_view kPrefix = "blk.";
  std::int64_t layer = n_layers;
  if (name.starts_with(kPrefix)) {
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), layer);
  }
  return static_cast<std::size_t>(std::clamp<std::int64_t>(layer, 0, n_layers));
}

std::uint64_t add_weight(std::uint64_t hash, const StoredWeight& weight) {
  for (const char c : weight.name) hash = mix(hash, static_cast<unsigned char>(c));
  hash = mix(hash, static_cast<std::uint64_t>(weight.n_rows));
  hash = mix(hash, static_cast<std::uint64_t>(weight.n_cols));
  std::vector<float> row(static_cast<std::size_t>(weight.n_cols));
  for (const std::int64_t r : {std::int64_t{0}, weight.n_rows / 2, weight.n_rows - 1}) {
    weight.decode_row(r, row);
    for (const float value : row) hash = mix(hash, std::bit_cast<std::uint32_t>(value));
  }
  return hash;
}

}  // namespace

ModelFingerprint fingerprint_of(const Checkpoint& checkpoint) {
  const LlamaConfig& config = checkpoint.config();
  ModelFingerprint fingerprint{.n_layers = config.n_layers,
                               .hidden = config.hidden,
                               .ffn = config.ffn,
                               .n_heads = config.n_heads,
                               .n_kv_heads = config.n_kv_heads,
                               .head_dim = config.head_dim,
                               .n_vocab = config.n_vocab};
  fingerprint.weight_hashes.assign(static_cast<std::size_t>(config.n_layers) + 1, kSeed);
  std::vector<const StoredWeight*> weights;
  for (const StoredWeight& weight : checkpoint.weights()) weights.push_back(&weight);
  std::ranges::sort(weights, {}, &StoredWeight::name);
  for (const StoredWeight* weight : weights) {
    std::uint64_t& hash = fingerprint.weight_hashes[layer_of(weight->name, config.n_layers)];
    hash = add_weight(hash, *weight);
  }
  return fingerprint;
}

}  // namespace cria

// The weights that a Llama decoder needs: their names in every file format, their shapes, and how a
// reader's tensors become StoredWeights.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "tensor/storage_type.h"

namespace cria {

struct ExpectedWeight {
  std::string name;                 // canonical, which is GGUF's: "blk.0.attn_q.weight"
  std::string hf_name;              // "model.layers.0.self_attn.q_proj.weight"
  std::string llama2c_name;         // "wq.0"
  std::vector<std::int64_t> shape;  // [n_rows, n_cols], or [n_cols] for the weights of a norm
  std::int64_t rotary_heads = 0;    // heads of a projection that is rotated (Q, K), else 0
};

// In canonical order: embedding, layers, output norm, head (unless tied). REQUIRES: sizes within
// validate_config's limits.
std::vector<ExpectedWeight> expected_weights(const LlamaConfig& config);

// A weight as a reader found it, in place.
struct FoundTensor {
  StorageType type = StorageType::kF32;
  std::vector<std::int64_t> shape;  // outermost first
  std::span<const std::byte> bytes;
  std::shared_ptr<const RowSource> source;  // as in StoredWeight: then there are no bytes
};

// Where the weights of one checkpoint come from.
struct WeightSource {
  std::string what;                   // the file or folder, for errors
  std::string ExpectedWeight::*name;  // which of the names the format uses
  bool interleaved = false;           // the row order of Q and K in the file
  std::function<Result<std::optional<FoundTensor>>(const ExpectedWeight&)> find;
};

// Every expected weight, or kBadInput naming (as the file calls it) one that is missing or has
// another shape. Touches no weights.
Result<std::vector<StoredWeight>> collect_weights(const LlamaConfig& config,
                                                  const WeightSource& source);

// A tensor that nothing expects would be a part of the model that is left out: kUnsupported names
// the first of `names` that is no weight of the decoder and for which `ignorable` is false.
Status refuse_unknown_tensors(const LlamaConfig& config, const WeightSource& source,
                              std::span<const std::string_view> names,
                              const std::function<bool(std::string_view)>& ignorable);

// The type that most bytes of the weights have, for descriptions.
std::string main_storage_type(std::span<const StoredWeight> weights);

}  // namespace cria

#include "format/npu_commands/npu_commands.h"

#include <algorithm>

namespace cria {

std::uint64_t NpuCache::bytes_per_position() const {
  return std::uint64_t{1} * n_layers * n_kv_heads * (row_bytes(false) + row_bytes(true));
}

std::int64_t NpuCache::granularity() const {
  return std::max(kv_granularity(k_type), kv_granularity(v_type));
}

std::uint64_t npu_weight_bytes(const NpuWeight& weight) {
  if (!weight.packed) return static_cast<std::uint64_t>(weight.n_cols) * sizeof(float);
  return packed_size_bytes(weight.encoding, weight.n_rows, weight.n_cols).value_or(0);
}

const char* npu_command_name(NpuCommandKind kind) {
  static constexpr const char* kNames[kNpuCommandKinds] = {"load_weight",
                                                           "load_strip",
                                                           "load",
                                                           "store",
                                                           "load_cache",
                                                           "load_cache_edge",
                                                           "store_cache",
                                                           "matmul",
                                                           "scores",
                                                           "mix",
                                                           "quantize",
                                                           "rms_norm",
                                                           "rope_angles",
                                                           "rope",
                                                           "swiglu",
                                                           "add",
                                                           "mul",
                                                           "silu",
                                                           "copy_last_row",
                                                           "embed_row",
                                                           "pack_cache",
                                                           "attend_begin",
                                                           "softmax",
                                                           "attend_end",
                                                           "switch_context",
                                                           "hadamard",
                                                           "store_scores",
                                                           "load_scores"};
  return kNames[static_cast<int>(kind)];
}

const char* npu_engine_name(NpuEngine engine) {
  static constexpr const char* kNames[kNpuEngines] = {"weight_dma", "data_dma", "matrix", "vector",
                                                      "control"};
  return kNames[static_cast<int>(engine)];
}

}  // namespace cria

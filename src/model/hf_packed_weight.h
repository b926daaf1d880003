// The weights of a quantized Hugging Face folder, which several tensors hold together.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/safetensors/safetensors.h"
#include "model/hf_quantization.h"
#include "tensor/row_source.h"

namespace cria {

using FindSafetensor = std::function<const SafetensorsTensor*(std::string_view)>;

struct HfPackedWeight {
  std::shared_ptr<const RowSource> rows;
  std::vector<std::string> tensor_names;  // the tensors that it is made of
};

// The matrix [n_rows, n_cols] of the module ("model.layers.0.self_attn.q_proj"), or nullopt if the
// folder has no packed tensors for it. kBadInput, naming the tensor, for one that is missing, of
// another dtype or shape, or with group numbers out of range; kUnsupported for a bias. The tensors'
// bytes must outlive the result.
Result<std::optional<HfPackedWeight>> open_hf_packed_weight(const HfQuantization& quantization,
                                                            const std::string& module,
                                                            std::int64_t n_rows,
                                                            std::int64_t n_cols,
                                                            const FindSafetensor& find);

// The name of the module's codes ("q_proj.qweight"), whatever the method; empty if there are none.
std::string find_hf_codes(const std::string& module, const FindSafetensor& find);

}  // namespace cria

// A model on an NPU with one thing changed at a time: what that would buy.
#pragma once

#include <vector>

#include "api/npu_model.h"
#include "cria/npu_profile.h"

namespace cria {

// `model`: what `options` open. The first: as it is; then encodings of the weights, of activations
// and cache, prefill chunks, and ops on the processor beside the NPU. What cannot be says why.
std::vector<NpuChange> try_npu_changes(const NpuModel& model, const NpuModelOptions& options);

}  // namespace cria

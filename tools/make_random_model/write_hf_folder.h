// A Hugging Face folder of a checkpoint.
#pragma once

#include <string>

#include "base/result.h"
#include "model/checkpoint.h"
#include "model_shape.h"

namespace cria {

// Writes config.json and model.safetensors. `checkpoint`: of `shape`, its weights half floats.
// kIo: the folder.
Status write_hf_folder(const ModelShape& shape, const Checkpoint& checkpoint,
                       const std::string& folder);

}  // namespace cria

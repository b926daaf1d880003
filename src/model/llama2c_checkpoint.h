// A llama2.c model as a Checkpoint.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "model/checkpoint.h"

namespace cria {

// Behaves as open_checkpoint (model/checkpoint.h), for a path that is known to be one.
Result<std::unique_ptr<Checkpoint>> open_llama2c_checkpoint(const std::string& path,
                                                            const OpenOptions& options);

}  // namespace cria

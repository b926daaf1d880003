// The flags that `cria plan` and `cria simulate` share.
#pragma once

#include <CLI/CLI.hpp>

#include "cria/npu.h"

namespace cria::cli {

// MODEL, --device, --quant, --ctx, -p, -n and the like. Not --power-profile: of how many a command
// tells is its own.
void add_npu_arguments(CLI::App& command, NpuModelOptions& options);

}  // namespace cria::cli

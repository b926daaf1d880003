// A LlamaConfig as JSON, for what cria tells about models.
#pragma once

#include <nlohmann/json.hpp>

#include "model/config.h"

namespace cria {

// {"n_layers": ..., "tied_embeddings": ...}: all members under their names, without the rotary
// frequencies. docs/inspect.md and docs/pte.md list them.
nlohmann::ordered_json config_json(const LlamaConfig& config);

}  // namespace cria

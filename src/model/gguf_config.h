// The metadata of a GGUF file -> LlamaConfig.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "format/gguf/gguf.h"
#include "model/config.h"

namespace cria {

// kUnsupported names what is not a plain Llama: another architecture, experts, attention windows.
Status check_gguf_architecture(const GgufFile& file);

// Reads `llama.*` with the defaults of llama.cpp. `n_vocab` is the number of rows of the embedding:
// the metadata need not say it. Whether the head is tied, and the divisors of rope_freqs.weight,
// are in tensors too and left to the caller. kUnsupported names other rotary scalings and head
// shapes.
Result<LlamaConfig> read_gguf_config(const GgufFile& file, std::int64_t n_vocab);

}  // namespace cria

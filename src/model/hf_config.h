// A Hugging Face config.json -> LlamaConfig.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"
#include "model/config.h"
#include "model/hf_quantization.h"

namespace cria {

struct HfConfig {
  LlamaConfig config;                       // tied_embeddings is left to the caller
  std::optional<bool> tie_word_embeddings;  // what the file says, if it does
  std::optional<HfQuantization> quantization;
};

// Reads the members of transformers' LlamaConfig with its defaults, rope_scaling in the older and
// rope_parameters in the newer spelling. kUnsupported names what is not a plain Llama: another
// model_type, biases, another activation, other rotary scalings, a quantization that is not read
// (model/hf_quantization.h). `what` names the file in errors.
Result<HfConfig> read_hf_config(std::string_view text, std::string_view what);

}  // namespace cria

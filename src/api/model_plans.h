// The plans of a model's methods, from a checkpoint, from a program or from a shape alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "format/plan/plan.h"
#include "model/config.h"
#include "tensor/encoding.h"

namespace cria {

struct ModelPlans {
  std::string description;  // "1b q4c"
  Plan prefill, decode;
};

// `model`, `quant`: as NpuModelOptions says. `prefill_chunk`: tokens of a prefill call; a program
// brings its own.
Result<ModelPlans> open_model_plans(const std::string& model, const std::string& quant,
                                    std::int64_t prefill_chunk);

// Of a shape; the encoding of each matrix, by its name.
Result<ModelPlans> plans_of_shape(const LlamaConfig& config,
                                  const std::function<Encoding(const std::string&)>& encoding_of,
                                  std::int64_t prefill_chunk);

}  // namespace cria

// The plans of a model's methods, from a checkpoint, from a program or from a shape alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "format/plan/plan.h"
#include "tensor/kv_layout.h"

namespace cria {

struct ModelPlans {
  enum class Origin { kShape, kCheckpoint, kProgram };
  std::string description;  // "1b q4c"
  Origin origin = Origin::kShape;
  Plan prefill, decode;
};

struct ModelPlansRequest {
  std::string model, quant;        // as NpuModelOptions says
  std::int64_t prefill_chunk = 1;  // tokens of a prefill call; a program brings its own
  KvType k_type = KvType::kF16;    // likewise
  KvType v_type = KvType::kF16;
  std::int64_t max_context = 0;         // positions; 0: not known
  int split_attention = 0;              // MethodRequest::split_attention
  std::function<bool(Encoding)> takes;  // whether the device does: as when a checkpoint is compiled
};

Result<ModelPlans> open_model_plans(const ModelPlansRequest& request);

}  // namespace cria

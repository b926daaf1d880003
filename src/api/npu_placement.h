// What the placement search is to weigh: ops of a model on the NPU, as their commands say, and on
// the processor beside it, in closed form.
#pragma once

#include "api/npu_model.h"

namespace cria {

Result<PlaceProblem> pose_npu_placement(const NpuModel& model, const NpuModelOptions& options);

}  // namespace cria

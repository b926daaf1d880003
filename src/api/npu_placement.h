// What the placement search is to weigh: ops of a model on the NPU, as their commands say, and on
// the processor beside it, in closed form.
#pragma once

#include "api/npu_model.h"

namespace cria {

Result<PlaceProblem> pose_npu_placement(const NpuModel& model, const NpuModelOptions& options);

// A placement and what it comes to, compiled as it is placed.
struct PlacedModel {
  PlacedOps placed;
  NpuCallTimes prefill, decode;
};

// The better, compiled, of what the search finds and of everything on the NPU that no pin holds on
// the processor (rest_on_npu): ops cost in the search what they cost in one stream, and where it is
// cut, weights are no longer loaded across the cut. Errors: those of place_ops() and
// time_npu_call().
Result<PlacedModel> place_npu_model(const NpuModel& model, const PlaceProblem& problem);

}  // namespace cria

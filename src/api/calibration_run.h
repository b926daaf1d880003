// The long part of a calibration: windows through the model, and what its linears read into the
// statistics.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "cria/progress.h"
#include "format/statistics/calibration_state.h"
#include "model/linear_inputs.h"

namespace cria {

struct CalibrationRun {
  const std::vector<std::vector<std::int32_t>>& windows;  // all of one length
  const std::vector<LinearInputShape>& shapes;            // as the inputs in the state's header
  const Progress& progress;
};

// From where `state` is to its last window. When it is interrupted (kCancelled) or fails, the state
// holds what was done.
Status run_calibration(const CalibrationRun& run, const std::string& pte_path, int n_threads,
                       CalibrationState& state);

}  // namespace cria

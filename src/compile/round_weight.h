// A weight that is edited, or rounded with statistics -> the packed panels of a target. What needs
// neither is streamed by WeightConverter.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>

#include "base/result.h"
#include "compile/edited_model.h"
#include "quantize/recipe.h"
#include "quantize/rtn.h"

namespace cria {

// Takes the panels in order, some at a time; an error ends the work.
using PanelSink = std::function<Status(std::span<const std::byte> panels)>;

// What was lost in one weight.
struct RoundingLoss {
  QuantizeError error;
  // Of the output on the calibration text, |(w - q) x|^2 / |w x|^2; none without statistics.
  std::optional<double> output_error;
};

// Whether the weight needs this way: it has edits, or is rounded with statistics to an encoding
// that it does not have already.
bool needs_rounding(const EditedModel& model, const StoredWeight& stored,
                    const WeightRounding& rounding);

// What would make round_weight fail after minutes, as far as headers tell: statistics that are
// missing or do not fit, encodings that methods cannot make.
Status check_rounding(const EditedModel& model, const StoredWeight& stored,
                      const WeightRounding& rounding);

// The same panels for any number of threads. Holds some 32 million weights at a time (all of the
// weight if rows are rotated), with statistics the Hessian. kBadInput, with tensor and row: weights
// that are not finite or that the encoding cannot hold.
Result<RoundingLoss> round_weight(const EditedModel& model, const StoredWeight& stored,
                                  const WeightRounding& rounding, const PanelSink& sink);

}  // namespace cria

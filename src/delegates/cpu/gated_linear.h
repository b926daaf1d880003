// Two linears side by side and the SwiGLU of their results, as one op.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "format/plan/plan.h"

namespace cria {

// What may be done with a linear and the op behind it.
enum class Gating : std::uint8_t {
  kNone,       // nothing: they are no such pair, or somebody else reads the linear's result
  kFloats,     // the SwiGLU takes the linear's sums as they are made
  kQuantized,  // its results are needed as int8 only, by the linear behind it
};

// For each op of a plan; none where the plan is a part of a method. `quantizes`: whether a weight
// is multiplied with int8 activations; `in_full`: whether its panels are all there, zeros and all.
std::vector<Gating> find_gated_linears(const Plan& plan,
                                       const std::function<bool(std::uint32_t)>& quantizes,
                                       const std::function<bool(std::uint32_t)>& in_full);

}  // namespace cria

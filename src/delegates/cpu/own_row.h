// Of one token, what a linear reads is made by each thread for itself.
//
// Cores that share no cache need a quarter of a microsecond to hand each other a line (two Zen 4
// cores of different CCDs; 40 ns where they share one), and nothing is read from memory while they
// wait: a row that one thread quantizes for all costs them more than to do the same work, each on
// its own lines.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "format/plan/plan.h"

namespace cria {

// For each op of a plan, whether it is a linear that can make the op before it, an RMSNorm, with
// its own input: nobody else reads that, it is needed as int8 only, and what the norm reads is not
// written over. None where the plan is a part of a method. `quantizes`: whether a weight is
// multiplied with int8 activations.
std::vector<bool> find_normed_linears(const Plan& plan,
                                      const std::function<bool(std::uint32_t)>& quantizes);

}  // namespace cria

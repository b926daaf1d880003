// Of one token, what a linear reads is made by each thread for itself.
//
// Two cores of a Zen 4 server hand each other a cache line in 50 to 100 ns in the minutes in which
// they read 37 GB/s together, in 250 where they read 64: it seems that only in the former they
// share a cache. While they wait for lines they read nothing from memory, so a row that one thread
// quantizes for all costs them more than the same work done by each, on its own lines.
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

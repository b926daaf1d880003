// Which linears of a plan read the same rows.
#pragma once

#include <cstdint>
#include <vector>

#include "format/plan/plan.h"

namespace cria {

// For each op of `plan`: the weights of all linears that read what it reads, if it is the first of
// them; else empty. A buffer that is written anew holds other rows. `plan` passed verify_plan.
std::vector<std::vector<std::uint32_t>> shared_inputs(const Plan& plan);

}  // namespace cria

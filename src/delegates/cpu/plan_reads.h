// Who reads what an op of a plan wrote.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/plan/plan.h"

namespace cria {

// Whether ops of other plans may read what this one writes: it is a part of a method.
bool is_part_of_method(const Plan& plan);

// Whether op `first` or one behind it needs what `buffer` holds before it.
bool is_read_later(const Plan& plan, std::size_t first, std::uint32_t buffer);

}  // namespace cria

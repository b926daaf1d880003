// The rules that tie the parts of a program together.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "format/pte/pte_program.h"

namespace cria::pte {

// Checks that every index points to something of the right kind, that methods and named data have
// names of their own, that segments lie inside `segment_data_bytes` and planned tensors inside
// their arenas. What passes can be walked without further checks; that a tensor's element type is
// one with a known size is not promised. Fails with kBadInput, saying where.
Status verify_program(const Program& program, std::uint64_t segment_data_bytes);

}  // namespace cria::pte

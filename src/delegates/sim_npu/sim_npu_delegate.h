// The `sim_npu` delegate: runs command streams (format/npu_commands) on a simulated device, in a
// scratchpad of its own.
//
// Arguments of execute: as those of the `cpu` delegate. Options: act (must be what was compiled),
// device (the profile's name, must be what was compiled for), isa (of the kernels that compute;
// results do not depend on it). Results in a8 and a16 equal the `cpu` delegate's bit for bit: the
// order of every sum is the same. Records are in simulated time.
#pragma once

#include "cria/delegate.h"

namespace cria {

const cria_delegate* sim_npu_delegate();

}  // namespace cria

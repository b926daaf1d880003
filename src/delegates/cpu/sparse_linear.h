// Linear ops on weights that were stored without their zero blocks (tensor/zero_blocks.h).
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "tensor/zero_blocks.h"

namespace cria {

// Panels [first_panel, ...) of a matrix for args.n_rows rows: what the kernel gives for the matrix
// in full, to the sign of a zero. `args` as for that, args.panels unused. Allocates for one panel's
// activations. For each panel the activations of the groups that are kept are put side by side, and
// the kernel multiplies them by the panel as if there were no others.
void sparse_linear_a8(const Kernels& kernels, const ZeroBlocksView& matrix,
                      std::int64_t first_panel, LinearA8Args args);
void sparse_linear_a16(const Kernels& kernels, const ZeroBlocksView& matrix,
                       std::int64_t first_panel, LinearA16Args args);

}  // namespace cria

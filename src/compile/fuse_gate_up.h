// The gate and up projections of a feed-forward layer become one linear, their product a swiglu.
#pragma once

#include "ir/graph.h"

namespace cria {

//   %g = linear(%x; wg)                 ->  %gu = linear(%x; wg, wu)
//   %u = linear(%x; wu)                     %y = swiglu(%gu)
//   %s = silu(%g)
//   %y = mul(%s, %u)
//
// Returns the number of products rewritten.
int fuse_gate_up(ir::Graph& graph);

}  // namespace cria

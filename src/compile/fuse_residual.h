// A linear whose result is added to something else accumulates into it.
#pragma once

#include "ir/graph.h"

namespace cria {

//   %y = linear(%x; w)                  ->  %z = linear(%x, %r; w)
//   %z = add(%r, %y)
//
// Only if nothing else uses %y (it would be computed twice). Returns the number of adds rewritten.
int fuse_residual(ir::Graph& graph);

}  // namespace cria

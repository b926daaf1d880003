// rms_normalize followed by a gain becomes one op.
#pragma once

#include "ir/graph.h"

namespace cria {

//   %u = rms_normalize(%x)              ->  %y = rms_norm(%x; gain)
//   %y = mul(%u; gain)
//
// The rms_normalize stays if something else uses it, else remove_dead takes it away. Returns the
// number of ops rewritten. REQUIRES: a verified graph (so for every pass).
int fuse_rms_norm(ir::Graph& graph);

}  // namespace cria

// Ops whose result nobody needs go away.
#pragma once

#include "ir/graph.h"

namespace cria {

// Keeps what reaches the output or the KV cache; returns the number of ops removed.
int remove_dead(ir::Graph& graph);

}  // namespace cria

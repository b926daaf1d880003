// The three projections of an attention layer become one linear.
#pragma once

#include "ir/graph.h"

namespace cria {

//   %q = linear(%x; wq)                 ->  %qkv = linear(%x; wq, wk, wv)
//   %k = linear(%x; wk)                     %q = slice(%qkv) {column=0, ...}
//   %v = linear(%x; wv)                     %k = slice(%qkv) ...   %v = slice(%qkv) ...
//
// A layer is found by its kv_append and its attention; q and k may pass through a rope. Layers
// whose projections do not all start from one value are left alone. Returns the number of layers
// fused.
int fuse_qkv(ir::Graph& graph);

}  // namespace cria

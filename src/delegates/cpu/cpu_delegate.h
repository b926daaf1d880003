// The delegate that runs plans (format/plan) on this processor's cores.
#pragma once

#include "cria/delegate.h"

namespace cria {

// "CriaCpuBackend". The table is static; add it to a DelegateRegistry.
//
// Arguments of execute(), in this order:
//   tokens     int64 [1, n] or [n], 1 <= n <= the plan's max_tokens
//   input_pos  int64 [1], the position of the first token
//   kv_cache   bytes [n_ctx, bytes a position], laid out for n_ctx positions as KvShape says
//   scratch    bytes, at least the plan's scratch_bytes, 64-byte aligned
//   logits     float32 out [1, rows, n_vocab], rows lowered to 1 or n
//
// Options: "act" = "a16" (float activations, the default) or "a8" (int8 in blocks of 32 for weights
// in a block encoding); "isa" = a name of base/cpu_features.h, the best supported by default.
// Results depend on neither threads, nor chunking, nor instruction set, bit for bit.
const cria_delegate* cpu_delegate();

}  // namespace cria

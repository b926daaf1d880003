// Zeros of a checkpoint that need not be stored: whole blocks, and two of four columns.
#pragma once

#include "base/thread_pool.h"
#include "model/checkpoint.h"
#include "tensor/zero_blocks.h"

namespace cria {

// The blocks of 16 rows and 32 columns that are not all zero. A matrix without such blocks costs a
// sixteenth of reading it. REQUIRES: check_stored(stored).
KeptBlocks find_kept_blocks(ThreadPool& pool, const StoredWeight& stored);

// Whether of each four columns at most two are not zero, in all rows. Stops at the first that has
// more. REQUIRES: check_stored(stored).
bool has_two_in_four(ThreadPool& pool, const StoredWeight& stored);

// q4 -> q4s24, q8 -> q8s24; others as they are.
Encoding pairs_encoding(Encoding plain);

}  // namespace cria

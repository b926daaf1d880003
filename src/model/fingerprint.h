// What tells the model of a checkpoint from others, for what is stored beside it.
#pragma once

#include "format/statistics/statistics_header.h"
#include "model/checkpoint.h"

namespace cria {

// Sizes, and hashes of the first, the middle and the last row of every weight, as floats in
// half-split order: the same model gives the same fingerprint from every file format that keeps its
// values, also without its tokenizer. Quantized files are other models.
ModelFingerprint fingerprint_of(const Checkpoint& checkpoint);

}  // namespace cria

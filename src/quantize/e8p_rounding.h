// E8P (tensor/e8p.h) for rows of floats: which scale a block of columns wants, and plain rounding.
//
// Weights divided by the scale should have the root mean square for which the lattice's ball is cut
// (e8p_best_rms); how far a block is from normally distributed decides what is best around it. So a
// few factors are tried on some of the block's octets, each with the least-squares scale of the
// points found.
#pragma once

#include <cstdint>
#include <span>

#include "quantize/rtn.h"
#include "tensor/row_codes.h"

namespace cria {

// The scale of a block's integers (e8p_decode_octet), before it is rounded to a half: 0 for a block
// of zeros. `importance` as quantize_row() takes it, of the same columns, or empty.
// REQUIRES: finite weights of at most 65504; bits 2, 3 or 4.
float e8p_search_scale(int bits, std::span<const float> block, std::span<const float> importance);

// quantize_row() of an E8P encoding. The nearest point is nearest by weights that are all alike:
// importance chooses scales only.
QuantizeError quantize_e8p_row(std::span<const float> row, std::span<const float> importance,
                               RowCodes& out);

}  // namespace cria

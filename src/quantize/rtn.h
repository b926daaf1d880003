// Round to nearest with a search for the scale: rows of floats -> codes.
//
// For each block of 32 columns the scale (and min) that makes
//   sum_k (w[k] - scale * codebook(code[k]) - min)^2
// smallest is searched over a fixed set of candidates: each maps the block's largest weight, with
// either sign, to one point of the codebook or slightly beyond, rounds, and takes the least-squares
// scale of the codes found. Scales are rounded to what is stored before the codes are chosen. Plain
// absmax rounding is among the candidates, so the result is never worse.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "tensor/encoding.h"
#include "tensor/row_codes.h"

namespace cria {

// What was lost in one or more rows.
struct QuantizeError {
  double error_sum = 0;   // sum of (w - q(w))^2
  double weight_sum = 0;  // sum of w^2
  double largest = 0;     // max |w - q(w)|

  void add(const QuantizeError& other);
  double relative_mse() const { return weight_sum > 0 ? error_sum / weight_sum : 0; }
};

// Encodings that rows of floats can be rounded to: those in blocks of 32 with scales of their own.
bool can_quantize(Encoding encoding);

// Quantizes one row. `out` was sized for (encoding, row.size()); a last block of fewer than 32
// columns is allowed. The result depends on nothing but the arguments: same codes on every
// instruction set. kBadInput for NaN and infinity and for weights beyond what a half-float scale
// reaches; the message says the column.
// REQUIRES: can_quantize(out.encoding), out.n_cols == row.size().
Result<QuantizeError> quantize_row(std::span<const float> row, RowCodes& out);

// The error of any codes against the floats they stand for. REQUIRES: equal sizes.
QuantizeError measure_error(std::span<const float> weights, std::span<const float> decoded);

}  // namespace cria

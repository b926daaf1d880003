// Round to nearest with a search for the scale: rows of floats -> codes.
//
// For each block the scale (and min) that makes
//   sum_k importance[k] (w[k] - scale * codebook(code[k]) - min)^2
// smallest is searched over a fixed set of candidates: each maps the block's largest weight, with
// either sign, to one point of the codebook or slightly beyond, rounds, and takes the least-squares
// scale of the codes found. Scales are rounded to what is stored before the codes are chosen. Plain
// absmax rounding is among the candidates, so the result is never worse.
//
// Where 256 columns share a super scale, each block first chooses its scale and min freely; the
// largest of them sets the super scales; then each block takes the best multiples of those near to
// what it chose, and its codes once more.
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

// Encodings that rows of floats can be rounded to, block by block: all that are not dense, but for
// pairs, which hold only rows that have the zeros (tensor/pairs.h). E8P: quantize/e8p_rounding.h.
bool can_quantize(Encoding encoding);

// Quantizes one row. `out` was sized for (encoding, row.size()); a last block of fewer columns is
// allowed. `importance` [row.size()]: what the squared error of each column counts for, finite and
// >= 0, by its ratios alone (about 1 on average, so that no sum leaves the floats); empty: all
// alike. The result depends on nothing but the arguments: same codes on every instruction set.
// kBadInput for NaN and infinity and for weights beyond what a half-float scale reaches; the
// message says the column.
// REQUIRES: can_quantize(out.encoding), out.n_cols == row.size().
Result<QuantizeError> quantize_row(std::span<const float> row, std::span<const float> importance,
                                   RowCodes& out);
inline Result<QuantizeError> quantize_row(std::span<const float> row, RowCodes& out) {
  return quantize_row(row, {}, out);
}

// What quantize_row() would say about the weights.
Status check_row(std::span<const float> row, Encoding encoding);

// The error of any codes against the floats they stand for. REQUIRES: equal sizes.
QuantizeError measure_error(std::span<const float> weights, std::span<const float> decoded);

}  // namespace cria

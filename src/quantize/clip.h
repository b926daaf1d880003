// The clip search of AWQ: the largest weights of a block are cut off where the codes that they
// would stretch serve the output better on the others.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "quantize/matrix.h"
#include "quantize/rtn.h"

namespace cria {

// What errors in neighbouring columns amount to in the output: the squares along the diagonal of
// the Hessian that blocks of an encoding cover (of wider blocks, squares of kWidest).
class BlockMoments {
 public:
  static constexpr int kWidest = 128;

  // REQUIRES: square, both halves filled. `block`: columns of a block.
  BlockMoments(const Matrix& hessian, int block);
  // The mean squares as the diagonal of a Hessian of which no more is known.
  explicit BlockMoments(std::span<const float> mean_square);

  int width() const { return width_; }
  // e^T H e of columns [first, first + errors.size()), `first` a multiple of width().
  // REQUIRES: errors.size() <= width().
  double square_of(std::int64_t first, std::span<const float> errors) const;

 private:
  int width_ = 1;
  std::vector<float> squares_;  // [n_cols][width_], row c: columns from the start of its square on
};

// As quantize_row(), of weights whose magnitudes are cut at the share (of the largest in their
// block) that makes the error in the output smallest; 1 is among the shares.
Result<QuantizeError> quantize_clipped_row(std::span<const float> row,
                                           std::span<const float> importance,
                                           const BlockMoments& moments, RowCodes& out);

}  // namespace cria

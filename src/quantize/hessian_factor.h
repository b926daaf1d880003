// The Cholesky factor of a linear's Hessian: what GPTQ and LDLQ need to feed errors back. Made
// once, shared by all linears that read the same input.
//
// Columns are put into positions p = 0, 1, ... and, with H in that order and damping on its
// diagonal, H + damping I = U^T U, U upper triangular. For an error e (one row, by position)
//
//   e (H + damping I) e^T = sum_p (sum_{q >= p} U[p][q] e[q])^2
//
// so rounding goes from the last position to the first: what those behind p did can be made up for
// at p, by aiming at w[p] + (sum_{q > p} U[p][q] e[q]) / U[p][p]. This is GPTQ (its upper factor of
// the inverse gives the same numbers) without an inverse.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "quantize/matrix.h"

namespace cria {

enum class ColumnOrder : std::uint8_t {
  kNatural,     // the last column is rounded first
  kByDiagonal,  // the column of largest diagonal is rounded first ("act-order")
  kByOctets,    // the same for whole octets of columns; what is left of the last one stays last
};

// Positions a block of a factor; the last block is padded.
inline constexpr std::int64_t kHessianBlock = 128;

// Immutable; safe to read from any thread. Holds about half the bytes of the Hessian.
class HessianFactor {
 public:
  // `hessian` [n, n] symmetric, both halves filled. `damping` >= 0: share of the mean diagonal
  // that is added to the diagonal; doubled (at least 0.01) until the factor exists. Columns whose
  // diagonal is 0 never saw an input: they get the mean and stay by themselves.
  // The same bits on every instruction set and for any number of threads.
  // kInvalidArgument: not square, damping not in [0, 1]. kBadInput: NaN, infinity or a negative
  // diagonal (row and column are named), or no damping up to 10 helps.
  static Result<HessianFactor> create(const Matrix& hessian, double damping, ColumnOrder order,
                                      ThreadPool& pool);

  std::int64_t n_cols() const { return static_cast<std::int64_t>(diagonal_.size()); }
  double damping() const { return damping_; }  // the share that was used
  float added() const { return added_; }       // what it added to the diagonal
  // [n_cols] the diagonal of the Hessian, damping included, by column.
  std::span<const float> diagonal() const { return diagonal_; }

  // Positions, padded to whole blocks; column_at() of a padding position is -1, and U is the
  // identity there.
  std::int64_t n_blocks() const { return static_cast<std::int64_t>(blocks_.size()); }
  std::int64_t n_positions() const { return n_blocks() * kHessianBlock; }
  std::int64_t column_at(std::int64_t position) const {
    return position < n_cols() ? columns_[position] : -1;
  }

  // Rows [block * kHessianBlock, + kHessianBlock) of U from column block * kHessianBlock on, rows
  // row_stride() apart; zero below the diagonal.
  const float* rows_of(std::int64_t block) const { return blocks_[block].data(); }
  std::int64_t row_stride(std::int64_t block) const {
    return n_positions() - block * kHessianBlock + kPadding;
  }

 private:
  // Apart from powers of two, so that rows do not compete for the same lines of a cache.
  static constexpr std::int64_t kPadding = 16;

  HessianFactor() = default;
  void load_block(const Matrix& hessian, std::int64_t block, ThreadPool& pool);
  void subtract_earlier(std::int64_t block, ThreadPool& pool);
  bool factor_diagonal(std::int64_t block, std::span<float> inverse);
  void solve_rest(std::int64_t block, std::span<const float> inverse, ThreadPool& pool);
  bool factor(const Matrix& hessian, ThreadPool& pool);

  double damping_ = 0;
  float added_ = 0;
  std::vector<float> diagonal_;
  std::vector<std::int32_t> columns_;       // by position
  std::vector<std::vector<float>> blocks_;  // rows of U
};

}  // namespace cria

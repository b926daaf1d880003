// Exact changes of a weight matrix before it is rounded, and what they do to what is known about
// its input.
//
// Of W [n_rows, n_cols], the output y = W x:
//
//   kScaleColumns  W <- W D,    D = diag(factors [n_cols])       the input becomes D^-1 x
//   kScaleRows     W <- D W,    D = diag(factors [n_rows])       the output becomes D y
//   kRotateColumns W <- W R,    R of n_cols (see below)          the input becomes R^T x
//   kRotateRows    W <- R^T W,  R of n_rows                      the output becomes R^T y
//
// R = diag(signs) H / sqrt(block) in each `block` of columns, H the Walsh-Hadamard matrix: what the
// kernel hadamard does to rows (x R in its row-vector form is R^T x here).
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/matrix.h"
#include "quantize/statistics.h"

namespace cria {

struct WeightEdit {
  enum class Kind : std::uint8_t { kScaleColumns, kScaleRows, kRotateColumns, kRotateRows };
  Kind kind = Kind::kScaleColumns;
  std::shared_ptr<const std::vector<float>> vector;  // factors, or signs of 1 and -1; not null
  std::int64_t block = 0;  // rotations: a power of two that divides the vector's size
};

// In the order in which they are made.
using WeightEdits = std::vector<WeightEdit>;

// 1 or -1 for each of n, a fixed random sequence for each name.
std::vector<float> random_signs(std::string_view name, std::int64_t n);

// The largest power of two that divides n > 0: the block of a rotation of n columns.
constexpr std::int64_t rotation_block(std::int64_t n) { return n & -n; }

// Rows that must be edited together: 1, or the largest block of a rotation of rows.
std::int64_t row_granularity(const WeightEdits& edits);

// Edits rows [first_row, first_row + rows.n_rows) of a weight. In float; the same bits for any
// number of threads and however the rows are cut. REQUIRES: the vectors fit the whole matrix;
// first_row and n_rows are multiples of row_granularity() (n_rows may end with the matrix).
void apply_edits(const WeightEdits& edits, std::int64_t first_row, Matrix& rows, ThreadPool& pool);

// The mean squares of the edited input. Where a rotation mixes columns of which no more is known,
// each gets the mean of its block, which is right if they are uncorrelated. Columns that were
// scaled by 0 count as 0.
void edit_statistics(const WeightEdits& edits, InputStatistics& statistics);

// H of the edited input: D^-1 H D^-1, R^T H R. Symmetric bit for bit. Columns that were scaled by 0
// become 0.
void edit_hessian(const WeightEdits& edits, Matrix& hessian, ThreadPool& pool);

}  // namespace cria

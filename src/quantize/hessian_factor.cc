#include "quantize/hessian_factor.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quantize/matmul.h"

namespace cria {
namespace {

constexpr std::int64_t kTileColumns = 512;  // of one task
constexpr double kMostDamping = 10;
// A pivot this much smaller than its diagonal is what floats leave of a zero.
constexpr double kSmallestPivot = 1e-6;

Status check_hessian(const Matrix& hessian, double damping) {
  if (hessian.n_rows != hessian.n_cols || hessian.n_rows <= 0) {
    return invalid_argument("Hessian of {} x {}, expected a square one", hessian.n_rows,
                            hessian.n_cols);
  }
  if (!(damping >= 0 && damping <= 1)) {
    return invalid_argument("damping is {}, expected 0 to 1", damping);
  }
  for (std::int64_t i = 0; i < hessian.n_rows; ++i) {
    const std::span<const float> row = hessian.row(i);
    const auto bad =
        std::find_if(row.begin(), row.end(), [](float h) { return !std::isfinite(h); });
    if (bad != row.end()) {
      return bad_input("Hessian, row {}, column {}: {}, expected a finite number", i,
                       bad - row.begin(), *bad);
    }
    if (row[i] < 0) {
      return bad_input("Hessian, row {}: {} on the diagonal, expected no negative number", i,
                       row[i]);
    }
  }
  return Status();
}

// Upper U with U^T U = A, both in the upper half of [kHessianBlock][kHessianBlock]; `least`
// [kHessianBlock]: the smallest pivots to be trusted. False: A is not positive enough.
bool cholesky(std::vector<double>& a, const double* least) {
  for (std::int64_t i = 0; i < kHessianBlock; ++i) {
    double* row = a.data() + i * kHessianBlock;
    for (std::int64_t k = 0; k < i; ++k) {
      const double* above = a.data() + k * kHessianBlock;
      const double factor = above[i];
      for (std::int64_t j = i; j < kHessianBlock; ++j) row[j] -= factor * above[j];
    }
    if (!(row[i] > least[i])) return false;
    const double root = std::sqrt(row[i]);
    for (std::int64_t j = i; j < kHessianBlock; ++j) row[j] /= root;
  }
  return true;
}

// The inverse of an upper triangular matrix [kHessianBlock][kHessianBlock], upper triangular too.
std::vector<double> invert_upper(const std::vector<double>& u) {
  std::vector<double> inverse(kHessianBlock * kHessianBlock, 0.0);
  for (std::int64_t i = kHessianBlock - 1; i >= 0; --i) {
    double* row = inverse.data() + i * kHessianBlock;
    row[i] = 1;
    for (std::int64_t k = i + 1; k < kHessianBlock; ++k) {
      const double factor = u[i * kHessianBlock + k];
      const double* below = inverse.data() + k * kHessianBlock;
      for (std::int64_t j = k; j < kHessianBlock; ++j) row[j] -= factor * below[j];
    }
    for (std::int64_t j = i; j < kHessianBlock; ++j) row[j] /= u[i * kHessianBlock + i];
  }
  return inverse;
}

// Columns by position.
std::vector<std::int32_t> ordered_columns(const Matrix& hessian, ColumnOrder order) {
  std::vector<std::int32_t> columns(static_cast<std::size_t>(hessian.n_cols));
  std::iota(columns.begin(), columns.end(), 0);
  if (order == ColumnOrder::kByDiagonal) {
    std::stable_sort(columns.begin(), columns.end(), [&](std::int32_t a, std::int32_t b) {
      return hessian.row(a)[a] < hessian.row(b)[b];
    });
  } else if (order == ColumnOrder::kByOctets) {
    std::vector<double> sums(columns.size() / 8);
    for (std::size_t i = 0; i < 8 * sums.size(); ++i) sums[i / 8] += hessian.row(i)[i];
    std::stable_sort(columns.begin(), columns.begin() + 8 * sums.size(),
                     [&](std::int32_t a, std::int32_t b) { return sums[a / 8] < sums[b / 8]; });
  }
  return columns;
}

}  // namespace

Result<HessianFactor> HessianFactor::create(const Matrix& hessian, double damping,
                                            ColumnOrder order, ThreadPool& pool) {
  CRIA_RETURN_IF_ERROR(check_hessian(hessian, damping));
  const std::int64_t n = hessian.n_rows;
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += hessian.row(i)[i];
  const double mean = sum > 0 ? sum / static_cast<double>(n) : 1.0;

  HessianFactor factor;
  factor.columns_ = ordered_columns(hessian, order);
  factor.blocks_.resize((n + kHessianBlock - 1) / kHessianBlock);
  factor.diagonal_.resize(n);
  for (; damping <= kMostDamping; damping = std::max(2 * damping, 0.01)) {
    factor.damping_ = damping;
    factor.added_ = static_cast<float>(damping * mean);
    for (std::int64_t i = 0; i < n; ++i) {
      const float h = hessian.row(i)[i];
      factor.diagonal_[i] = (h > 0 ? h : static_cast<float>(mean)) + factor.added_;
    }
    if (factor.factor(hessian, pool)) return factor;
  }
  return bad_input("Hessian of {} columns is not positive, even with {} times its mean diagonal", n,
                   kMostDamping);
}

bool HessianFactor::factor(const Matrix& hessian, ThreadPool& pool) {
  std::vector<float> inverse(kHessianBlock * kHessianBlock);
  for (std::int64_t block = 0; block < n_blocks(); ++block) {
    load_block(hessian, block, pool);
    subtract_earlier(block, pool);
    if (!factor_diagonal(block, inverse)) return false;
    solve_rest(block, inverse, pool);
  }
  return true;
}

void HessianFactor::load_block(const Matrix& hessian, std::int64_t block, ThreadPool& pool) {
  const std::int64_t stride = row_stride(block), first = block * kHessianBlock;
  std::vector<float>& rows = blocks_[block];
  rows.assign(kHessianBlock * stride, 0.0f);
  pool.parallel_for(kHessianBlock, [&](std::int64_t i, int) {
    float* to = rows.data() + i * stride;
    const std::int64_t position = first + i;
    if (position >= n_cols()) {
      to[i] = 1;
      return;
    }
    const std::int64_t column = columns_[position];
    const std::span<const float> from = hessian.row(column);
    for (std::int64_t p = position; p < n_cols(); ++p) to[p - first] = from[columns_[p]];
    to[i] = diagonal_[column];
  });
}

void HessianFactor::subtract_earlier(std::int64_t block, ThreadPool& pool) {
  const std::int64_t first = block * kHessianBlock, width = n_positions() - first;
  const std::int64_t n_tiles = (width + kTileColumns - 1) / kTileColumns;
  pool.parallel_for(n_tiles, [&](std::int64_t tile, int) {
    const std::int64_t j = tile * kTileColumns;
    MatmulArgs args;
    args.n_rows = args.n_k = kHessianBlock;
    args.n_cols = std::min(kTileColumns, width - j);
    args.c = blocks_[block].data() + j;
    args.c_stride = row_stride(block);
    args.subtract = true;
    for (std::int64_t k = 0; k < block; ++k) {
      const float* rows = rows_of(k) + (first - k * kHessianBlock);
      args.a = rows;  // transposed: column i of rows k
      args.a_row_stride = 1;
      args.a_col_stride = args.b_stride = row_stride(k);
      args.b = rows + j;
      matmul(args);
    }
  });
}

bool HessianFactor::factor_diagonal(std::int64_t block, std::span<float> inverse) {
  float* rows = blocks_[block].data();
  const std::int64_t stride = row_stride(block);
  std::vector<double> square(kHessianBlock * kHessianBlock, 0.0);
  double least[kHessianBlock];
  for (std::int64_t i = 0; i < kHessianBlock; ++i) {
    for (std::int64_t j = i; j < kHessianBlock; ++j)
      square[i * kHessianBlock + j] = rows[i * stride + j];
    const std::int64_t column = column_at(block * kHessianBlock + i);
    least[i] = kSmallestPivot * (column < 0 ? 1 : diagonal_[column]);
  }
  if (!cholesky(square, least)) return false;
  const std::vector<double> inverted = invert_upper(square);
  for (std::int64_t i = 0; i < kHessianBlock; ++i) {
    for (std::int64_t j = 0; j < kHessianBlock; ++j) {
      rows[i * stride + j] = j < i ? 0.0f : static_cast<float>(square[i * kHessianBlock + j]);
      inverse[i * kHessianBlock + j] = static_cast<float>(inverted[i * kHessianBlock + j]);
    }
  }
  return true;
}

// With U_jj of the diagonal: the rest of its rows is U_jj^-T times what is there.
void HessianFactor::solve_rest(std::int64_t block, std::span<const float> inverse,
                               ThreadPool& pool) {
  const std::int64_t stride = row_stride(block);
  const std::int64_t width = n_positions() - (block + 1) * kHessianBlock;
  const std::int64_t n_tiles = (width + kTileColumns - 1) / kTileColumns;
  pool.parallel_for(n_tiles, [&](std::int64_t tile, int) {
    const std::int64_t j = tile * kTileColumns, n = std::min(kTileColumns, width - j);
    float* rows = blocks_[block].data() + kHessianBlock + j;
    std::vector<float> before(kHessianBlock * n);
    for (std::int64_t i = 0; i < kHessianBlock; ++i) {
      std::copy_n(rows + i * stride, n, before.data() + i * n);
      std::fill_n(rows + i * stride, n, 0.0f);
    }
    MatmulArgs args;
    args.a = inverse.data();
    args.a_row_stride = 1;
    args.a_col_stride = kHessianBlock;
    args.b = before.data();
    args.b_stride = n;
    args.c = rows;
    args.c_stride = stride;
    args.n_rows = args.n_k = kHessianBlock;
    args.n_cols = n;
    matmul(args);
  });
}

}  // namespace cria

// The sums that calibration makes of the rows of windows of text.
//
// Sums of a window are made in double, token after token. Products of two floats are exact in
// double, so a fused multiply-add rounds like a separate one, and every instruction set gives the
// same bits; lanes are columns, so their number does not matter either.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "format/statistics/fixed_point.h"

namespace cria {

inline constexpr std::int64_t kPanelColumns = 8;  // columns side by side in a panel

// [n_windows][n_tokens, n_cols] without gaps.
struct WindowRows {
  const float* values = nullptr;
  std::int64_t n_windows = 0;
  std::int64_t n_tokens = 0;  // of each
  std::int64_t n_cols = 0;
};

// Adds the sums of squares and of absolute values of each window to those of the columns. The same
// bits for any number of threads. kBadInput names the column whose squares in a window reach
// kLargestWindowSum or are not a number; the sums are spoilt then.
Status add_column_sums(const WindowRows& rows, std::span<FixedSum> squares,
                       std::span<FixedSum> absolutes, ThreadPool& pool);

// The same rows as panels of doubles, [n_windows][n_panels][n_tokens][kPanelColumns], the last
// panel filled with zeros: what add_products streams. Reuses its memory. Not thread-safe.
class PackedWindows {
 public:
  // kOutOfResources.
  Status pack(const WindowRows& rows, ThreadPool& pool);

  std::int64_t n_windows() const { return rows_.n_windows; }
  std::int64_t n_tokens() const { return rows_.n_tokens; }
  std::int64_t n_cols() const { return rows_.n_cols; }
  std::int64_t n_panels() const { return (rows_.n_cols + kPanelColumns - 1) / kPanelColumns; }
  const double* panel(std::int64_t window, std::int64_t panel) const {
    return reinterpret_cast<const double*>(memory_.data()) +
           (window * n_panels() + panel) * rows_.n_tokens * kPanelColumns;
  }

 private:
  WindowRows rows_;
  AlignedBuffer memory_;
};

// Adds sum_t x[t, i] x[t, j] of each window to the entries of rows [first_row, first_row + n_rows)
// of the upper triangle (one after the other, row i from column i on). REQUIRES: first_row is a
// multiple of kPanelColumns; add_column_sums accepted the rows. The same bits for any number of
// threads. kBadInput: a sum over all windows reaches kLargestProduct.
Status add_products(const PackedWindows& windows, std::int64_t first_row, std::int64_t n_rows,
                    std::span<std::int64_t> triangle_rows, ThreadPool& pool);

// out[i * 8 + j] = sum_t a[t * 8 + i] * b[t * 8 + j], for each t in order. Panels are aligned
// to 64.
using ProductTile = void (*)(const double* a, const double* b, std::int64_t n_tokens, double* out);
void product_tile_generic(const double* a, const double* b, std::int64_t n_tokens, double* out);
void product_tile_avx2(const double* a, const double* b, std::int64_t n_tokens, double* out);
void product_tile_avx512(const double* a, const double* b, std::int64_t n_tokens, double* out);

}  // namespace cria

#include "quantize/second_moments.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cmath>
#include <vector>

#include "base/cpu_features.h"
#include "format/statistics/statistics_header.h"

namespace cria {
namespace {

constexpr std::int64_t kSumColumns = 64;  // columns of a task of add_column_sums
constexpr std::int64_t kTaskPanels = 8;   // panels of a task of add_products
constexpr std::int64_t kTile = kPanelColumns * kPanelColumns;

ProductTile pick_tile() {
  const Isa isa = best_isa();
#ifdef CRIA_HAVE_AVX512VNNI
  if (isa == Isa::kAvx512Vnni) return product_tile_avx512;
#endif
#ifdef CRIA_HAVE_AVX2
  if (isa == Isa::kAvx2 || isa == Isa::kAvx512Vnni) return product_tile_avx2;
#endif
  static_cast<void>(isa);
  return product_tile_generic;
}

// Columns [first, first + n) of one window; false if one of them cannot be held.
bool add_window_sums(const WindowRows& rows, std::int64_t window, std::int64_t first,
                     std::int64_t n, FixedSum* squares, FixedSum* absolutes) {
  double square[kSumColumns] = {}, absolute[kSumColumns] = {};
  const float* row = rows.values + window * rows.n_tokens * rows.n_cols + first;
  for (std::int64_t t = 0; t < rows.n_tokens; ++t, row += rows.n_cols) {
    for (std::int64_t c = 0; c < n; ++c) {
      const double x = row[c];
      square[c] += x * x;
      absolute[c] += std::fabs(x);
    }
  }
  for (std::int64_t c = 0; c < n; ++c) {
    if (!(square[c] < kLargestWindowSum)) return false;  // also not a number
    if (!add_to(squares[first + c], to_fixed_sum(square[c]))) return false;
    if (!add_to(absolutes[first + c], to_fixed_sum(absolute[c]))) return false;
  }
  return true;
}

// What is wrong with the first column that could not be added.
Status bad_column(const WindowRows& rows) {
  for (std::int64_t w = 0; w < rows.n_windows; ++w) {
    for (std::int64_t c = 0; c < rows.n_cols; ++c) {
      double square = 0;
      for (std::int64_t t = 0; t < rows.n_tokens; ++t) {
        const double x = rows.values[(w * rows.n_tokens + t) * rows.n_cols + c];
        square += x * x;
      }
      if (square < kLargestWindowSum) continue;
      return bad_input("column {}: the squares of a window sum up to {}, expected less than {}", c,
                       square, kLargestWindowSum);
    }
  }
  return bad_input("the sums of all windows no longer fit");
}

// Adds a tile at (row0, column0) to the rows of the triangle from `first_row` on.
void add_tile(const double* tile, std::int64_t n_cols, std::int64_t first_row, std::int64_t row0,
              std::int64_t column0, std::int64_t* out) {
  const std::int64_t column_end = std::min(column0 + kPanelColumns, n_cols);
  for (std::int64_t i = row0; i < std::min(row0 + kPanelColumns, n_cols); ++i) {
    std::int64_t* entry = out + triangle_row(n_cols, i) - triangle_row(n_cols, first_row) - i;
    const double* value = tile + (i - row0) * kPanelColumns - column0;
    for (std::int64_t j = std::max(i, column0); j < column_end; ++j) {
      entry[j] += to_fixed_product(value[j]);
    }
  }
}

}  // namespace

void product_tile_generic(const double* a, const double* b, std::int64_t n_tokens, double* out) {
  double sums[kTile] = {};
  for (std::int64_t t = 0; t < n_tokens; ++t, a += kPanelColumns, b += kPanelColumns) {
    for (int i = 0; i < kPanelColumns; ++i) {
      for (int j = 0; j < kPanelColumns; ++j) sums[i * kPanelColumns + j] += a[i] * b[j];
    }
  }
  std::copy_n(sums, kTile, out);
}

Status add_column_sums(const WindowRows& rows, std::span<FixedSum> squares,
                       std::span<FixedSum> absolutes, ThreadPool& pool) {
  assert(std::ssize(squares) == rows.n_cols && std::ssize(absolutes) == rows.n_cols);
  std::atomic<bool> ok = true;
  pool.parallel_for((rows.n_cols + kSumColumns - 1) / kSumColumns, [&](std::int64_t task, int) {
    const std::int64_t first = task * kSumColumns;
    const std::int64_t n = std::min(kSumColumns, rows.n_cols - first);
    for (std::int64_t w = 0; w < rows.n_windows; ++w) {
      if (!add_window_sums(rows, w, first, n, squares.data(), absolutes.data())) ok = false;
    }
  });
  return ok ? Status() : bad_column(rows);
}

Status PackedWindows::pack(const WindowRows& rows, ThreadPool& pool) {
  rows_ = rows;
  const auto n_values =
      static_cast<std::size_t>(rows.n_windows * n_panels() * rows.n_tokens * kPanelColumns);
  if (memory_.size_bytes() < n_values * sizeof(double)) {
    memory_ = AlignedBuffer();  // the old block goes before the new one comes
    CRIA_ASSIGN_OR_RETURN(memory_, AlignedBuffer::allocate(n_values * sizeof(double)));
  }
  auto* const memory = reinterpret_cast<double*>(memory_.data());
  pool.parallel_for(rows.n_windows * n_panels(), [&](std::int64_t task, int) {
    const std::int64_t window = task / n_panels();
    const std::int64_t first = task % n_panels() * kPanelColumns;
    const std::int64_t n = std::min(kPanelColumns, rows.n_cols - first);
    const float* row = rows.values + window * rows.n_tokens * rows.n_cols + first;
    double* to = memory + task * rows.n_tokens * kPanelColumns;
    for (std::int64_t t = 0; t < rows.n_tokens; ++t, row += rows.n_cols, to += kPanelColumns) {
      for (std::int64_t c = 0; c < kPanelColumns; ++c) to[c] = c < n ? row[c] : 0;
    }
  });
  return {};
}

Status add_products(const PackedWindows& windows, std::int64_t first_row, std::int64_t n_rows,
                    std::span<std::int64_t> triangle_rows, ThreadPool& pool) {
  const std::int64_t n_cols = windows.n_cols();
  assert(first_row % kPanelColumns == 0);
  const ProductTile tile_of = pick_tile();
  const std::int64_t row_panel = first_row / kPanelColumns;
  const std::int64_t row_panel_end = (first_row + n_rows + kPanelColumns - 1) / kPanelColumns;
  const std::int64_t n_tasks = (windows.n_panels() - row_panel + kTaskPanels - 1) / kTaskPanels;
  // A task owns columns: all rows of the block stay in the second cache, each panel of its columns
  // in the first.
  pool.parallel_for(n_tasks, [&](std::int64_t task, int) {
    alignas(64) double tile[kTile];
    const std::int64_t first = row_panel + task * kTaskPanels;
    const std::int64_t end = std::min(first + kTaskPanels, windows.n_panels());
    for (std::int64_t w = 0; w < windows.n_windows(); ++w) {
      for (std::int64_t p = first; p < end; ++p) {
        for (std::int64_t q = row_panel; q < std::min(row_panel_end, p + 1); ++q) {
          tile_of(windows.panel(w, q), windows.panel(w, p), windows.n_tokens(), tile);
          add_tile(tile, n_cols, first_row, q * kPanelColumns, p * kPanelColumns,
                   triangle_rows.data());
        }
      }
    }
  });
  for (std::int64_t i = first_row; i < first_row + n_rows; ++i) {
    const auto diagonal = triangle_row(n_cols, i) - triangle_row(n_cols, first_row);
    if (triangle_rows[static_cast<std::size_t>(diagonal)] < kLargestProduct) continue;
    return bad_input("column {}: the squares of all windows sum up to 2^42 or more", i);
  }
  return {};
}

}  // namespace cria

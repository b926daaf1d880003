#include "quantize/weight_edit.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/cpu_features.h"
#include "kernels/kernels.h"

namespace cria {
namespace {

using Kind = WeightEdit::Kind;

constexpr std::int64_t kRowsPerTask = 16;
constexpr std::int64_t kColumnsPerTask = 64;

const Kernels& kernels() {
  static const Kernels& table = kernels_for(best_isa());
  return table;
}

// fn(first, n) for tasks of at most `step` of `n`.
template <typename Fn>
void in_tasks(std::int64_t n, std::int64_t step, ThreadPool& pool, const Fn& fn) {
  pool.parallel_for((n + step - 1) / step, [&](std::int64_t task, int) {
    fn(task * step, std::min(step, n - task * step));
  });
}

void scale_columns(const std::vector<float>& factors, std::span<float> row) {
  for (std::size_t c = 0; c < row.size(); ++c) row[c] *= factors[c];
}

void rotate_columns(const WeightEdit& edit, std::span<float> row) {
  const auto n = static_cast<std::int64_t>(row.size());
  kernels().hadamard({row.data(), n, 1, n, edit.block, edit.vector->data(), false, row.data(), n});
}

// One stage of the transform on columns [first, first + n): rows h apart become sum and difference.
void rotate_stage(Matrix& m, std::int64_t first_row, std::int64_t block, std::int64_t h,
                  std::int64_t first, std::int64_t n) {
  for (std::int64_t i = first_row; i < first_row + block; i += 2 * h) {
    for (std::int64_t r = i; r < i + h; ++r) {
      float* a = m.row(r).data() + first;
      float* b = m.row(r + h).data() + first;
      for (std::int64_t c = 0; c < n; ++c) {
        const float sum = a[c] + b[c];
        b[c] = a[c] - b[c];
        a[c] = sum;
      }
    }
  }
}

// As the kernel does to a row, in the same order: signs, stages, scale. `signs`: of the first row.
void rotate_rows(const float* signs, std::int64_t block, Matrix& m, std::int64_t first,
                 std::int64_t n) {
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
  const auto scale_row = [&](std::int64_t r, float factor) {
    for (float& value : m.row(r).subspan(first, n)) value *= factor;
  };
  for (std::int64_t r = 0; r < m.n_rows; ++r) scale_row(r, signs[r]);
  for (std::int64_t at = 0; at < m.n_rows; at += block) {
    for (std::int64_t h = 1; h < block; h *= 2) rotate_stage(m, at, block, h, first, n);
  }
  for (std::int64_t r = 0; r < m.n_rows; ++r) scale_row(r, scale);
}

void apply_edit(const WeightEdit& edit, std::int64_t first_row, Matrix& m, ThreadPool& pool) {
  const std::vector<float>& vector = *edit.vector;
  if (edit.kind == Kind::kRotateRows) {
    assert(first_row % edit.block == 0 && m.n_rows % edit.block == 0);
    in_tasks(m.n_cols, kColumnsPerTask, pool, [&](std::int64_t first, std::int64_t n) {
      rotate_rows(vector.data() + first_row, edit.block, m, first, n);
    });
    return;
  }
  in_tasks(m.n_rows, kRowsPerTask, pool, [&](std::int64_t first, std::int64_t n) {
    for (std::int64_t r = first; r < first + n; ++r) {
      const std::span<float> row = m.row(r);
      if (edit.kind == Kind::kScaleColumns) {
        scale_columns(vector, row);
      } else if (edit.kind == Kind::kRotateColumns) {
        rotate_columns(edit, row);
      } else {
        for (float& value : row) value *= vector[first_row + r];
      }
    }
  });
}

double inverse(float factor) { return factor == 0 ? 0 : 1.0 / factor; }

void average_blocks(std::int64_t block, std::vector<float>& values) {
  for (std::size_t at = 0; at < values.size(); at += block) {
    double sum = 0;
    for (std::int64_t i = 0; i < block; ++i) sum += values[at + i];
    std::fill_n(values.begin() + at, block, static_cast<float>(sum / static_cast<double>(block)));
  }
}

// Both halves from the upper one: rotating rows and columns rounds differently.
void make_symmetric(Matrix& m, ThreadPool& pool) {
  in_tasks(m.n_rows, kRowsPerTask, pool, [&](std::int64_t first, std::int64_t n) {
    for (std::int64_t r = first; r < first + n; ++r) {
      for (std::int64_t c = 0; c < r; ++c) m.row(r)[c] = m.row(c)[r];
    }
  });
}

}  // namespace

std::vector<float> random_signs(std::string_view name, std::int64_t n) {
  std::uint64_t state = 0xcbf29ce484222325;  // FNV-1a of the name, then splitmix64
  for (const char c : name) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::vector<float> signs(static_cast<std::size_t>(n));
  for (float& sign : signs) {
    std::uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    sign = ((z ^ (z >> 31)) & 1) != 0 ? -1.0f : 1.0f;
  }
  return signs;
}

std::int64_t row_granularity(const WeightEdits& edits) {
  std::int64_t most = 1;
  for (const WeightEdit& edit : edits) {
    if (edit.kind == Kind::kRotateRows) most = std::max(most, edit.block);
  }
  return most;
}

void apply_edits(const WeightEdits& edits, std::int64_t first_row, Matrix& rows, ThreadPool& pool) {
  for (const WeightEdit& edit : edits) apply_edit(edit, first_row, rows, pool);
}

void edit_statistics(const WeightEdits& edits, InputStatistics& statistics) {
  std::vector<float>& squares = statistics.mean_square;
  std::vector<float>& absolutes = statistics.mean_absolute;
  for (const WeightEdit& edit : edits) {
    if (edit.kind == Kind::kScaleColumns) {
      for (std::size_t c = 0; c < squares.size(); ++c) {
        const double by = inverse((*edit.vector)[c]);
        squares[c] = static_cast<float>(squares[c] * by * by);
        absolutes[c] = static_cast<float>(absolutes[c] * std::fabs(by));
      }
    } else if (edit.kind == Kind::kRotateColumns) {
      average_blocks(edit.block, squares);
      // Sums of many terms are about normal, of which sqrt(2 / pi) is the mean magnitude.
      for (std::size_t c = 0; c < squares.size(); ++c) {
        absolutes[c] = static_cast<float>(std::sqrt(0.6366197723675814 * squares[c]));
      }
    }
  }
}

void edit_hessian(const WeightEdits& edits, Matrix& hessian, ThreadPool& pool) {
  for (const WeightEdit& edit : edits) {
    if (edit.kind == Kind::kScaleColumns) {
      in_tasks(hessian.n_rows, kRowsPerTask, pool, [&](std::int64_t first, std::int64_t n) {
        for (std::int64_t r = first; r < first + n; ++r) {
          const double by = inverse((*edit.vector)[r]);
          for (std::int64_t c = 0; c < hessian.n_cols; ++c) {
            float& value = hessian.row(r)[c];
            value = static_cast<float>(value * (by * inverse((*edit.vector)[c])));
          }
        }
      });
    } else if (edit.kind == Kind::kRotateColumns) {
      apply_edit(edit, 0, hessian, pool);
      apply_edit({Kind::kRotateRows, edit.vector, edit.block}, 0, hessian, pool);
      make_symmetric(hessian, pool);
    }
  }
}

}  // namespace cria

// Rows of a matrix a group at a time, transposed: what is done to one column of many rows runs over
// adjacent floats.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "quantize/matmul.h"
#include "quantize/matrix.h"

namespace cria {

inline constexpr std::int64_t kGroupRows = 128;

struct RowGroup {
  std::int64_t first = 0;   // row of the matrix
  std::int64_t n_rows = 0;  // up to kGroupRows
  // Rows of a transposed tile, padded with zeros for matmul().
  std::int64_t n_lanes() const {
    return (n_rows + kMatmulColumns - 1) / kMatmulColumns * kMatmulColumns;
  }
};

inline std::int64_t group_count(std::int64_t n_rows) {
  return (n_rows + kGroupRows - 1) / kGroupRows;
}
inline RowGroup row_group(std::int64_t n_rows, std::int64_t index) {
  return {index * kGroupRows, std::min(kGroupRows, n_rows - index * kGroupRows)};
}

// out[p][r] = matrix[group.first + r][column_of(p)] for p in [from, to), rows of out n_lanes()
// apart.
template <typename ColumnOf>
void load_transposed(const Matrix& matrix, const RowGroup& group, std::int64_t from,
                     std::int64_t to, const ColumnOf& column_of, float* out) {
  const std::int64_t n_lanes = group.n_lanes();
  std::fill_n(out, (to - from) * n_lanes, 0.0f);
  for (std::int64_t r = 0; r < group.n_rows; ++r) {
    const float* row = matrix.values.data() + (group.first + r) * matrix.n_cols;
    for (std::int64_t p = from; p < to; ++p) out[(p - from) * n_lanes + r] = row[column_of(p)];
  }
}

}  // namespace cria

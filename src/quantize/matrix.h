// A matrix of floats in memory: what quantizers work on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cria {

// Row-major [n_rows, n_cols]: of a weight, rows are output features and columns input features.
struct Matrix {
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  std::vector<float> values;  // n_rows * n_cols

  Matrix() = default;
  Matrix(std::int64_t rows, std::int64_t cols)
      : n_rows(rows), n_cols(cols), values(static_cast<std::size_t>(rows * cols)) {}

  std::span<float> row(std::int64_t r) {
    return std::span(values).subspan(static_cast<std::size_t>(r * n_cols),
                                     static_cast<std::size_t>(n_cols));
  }
  std::span<const float> row(std::int64_t r) const {
    return std::span(values).subspan(static_cast<std::size_t>(r * n_cols),
                                     static_cast<std::size_t>(n_cols));
  }
};

}  // namespace cria

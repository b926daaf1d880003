// A stored matrix of numbers whose bytes may lie at any address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/result.h"

namespace cria {

// Row-major [n_rows, n_cols] of T over bytes that are not owned. REQUIRES: bytes.size() == n_rows *
// n_cols * sizeof(T).
template <typename T>
struct Elements {
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  std::span<const std::byte> bytes;

  T at(std::int64_t row, std::int64_t column) const {
    T value;
    std::memcpy(&value, bytes.data() + sizeof(T) * static_cast<std::size_t>(row * n_cols + column),
                sizeof(T));
    return value;
  }
};

// kBadInput, with both shapes, unless the tensor `name` has the shape that is expected.
template <typename T>
Status check_shape(const char* name, const Elements<T>& found, std::int64_t n_rows,
                   std::int64_t n_cols) {
  if (found.n_rows == n_rows && found.n_cols == n_cols) return {};
  return bad_input("{} has shape [{}, {}], expected [{}, {}]", name, found.n_rows, found.n_cols,
                   n_rows, n_cols);
}

}  // namespace cria

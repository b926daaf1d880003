// The meaning of graphs, op by op, in double precision: what passes and targets are tested against.
// Scalar and slow; linked into tests only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace cria::ir {

// Row-major [n_rows, n_cols].
struct Matrix {
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  std::vector<double> elements;

  Matrix() = default;
  Matrix(std::int64_t rows, std::int64_t cols)
      : n_rows(rows), n_cols(cols), elements(rows * cols, 0.0) {}
  double& at(std::int64_t row, std::int64_t col) { return elements[row * n_cols + col]; }
  double at(std::int64_t row, std::int64_t col) const { return elements[row * n_cols + col]; }
};

using WeightTable = std::map<std::string, Matrix>;

// Normally distributed numbers, scaled by 1/sqrt(n_cols) so that activations stay near 1; vectors
// near 1. The numbers of a weight depend on `seed` and its name only.
Matrix random_weight(const Weight& weight, std::uint32_t seed);
WeightTable random_weights(const Graph& graph, std::uint32_t seed);

// The cache of one layer, position by position.
struct LayerCache {
  std::vector<std::vector<double>> k, v;  // [position][n_kv_heads * head_dim]
};
using CacheTable = std::map<std::int64_t, LayerCache>;

// The math of single ops, shared with the evaluators of targets' plans.
Matrix rms_normalize(const Matrix& x, double epsilon);
Matrix multiply(const Matrix& x, const Matrix& weight);  // x * weight^T
void rotate_heads(Matrix& x, std::int64_t column, std::int64_t n_heads, const Matrix& frequencies,
                  std::int64_t position);
void append_rows(LayerCache& cache, const Matrix& k, const Matrix& v, std::int64_t position);
struct AttentionShape {
  std::int64_t n_heads, n_kv_heads, head_dim;
  double scale;
};
Matrix attend(const Matrix& q, const LayerCache& cache, const AttentionShape& shape,
              std::int64_t position);
double silu(double x);
// x diag(signs) H / sqrt(block), or the inverse.
Matrix hadamard(Matrix x, const Matrix& signs, std::int64_t block, bool inverse);
Matrix columns(const Matrix& x, std::int64_t column, std::int64_t width);

// Runs a verified graph whose inputs are the tokens i64[S] and the position i64[1], in this order.
// REQUIRES: all weights are in the table, `cache` holds the positions before `position`.
Matrix evaluate(const Graph& graph, const WeightTable& weights, CacheTable& cache,
                const std::vector<std::int64_t>& tokens, std::int64_t position);

}  // namespace cria::ir

// Hessians and weights for tests, and what is easily computed from them in doubles.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <span>

#include "quantize/matrix.h"

namespace cria {

inline Matrix random_weights(std::int64_t n_rows, std::int64_t n_cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02f);
  Matrix weights(n_rows, n_cols);
  for (float& w : weights.values) w = normal(random);
  return weights;
}

// The second moments of n_tokens inputs whose columns are correlated (each mixes a few hidden
// sources) and of very different size, as in real models.
inline Matrix random_hessian(std::int64_t n, std::int64_t n_tokens, unsigned seed) {
  constexpr int kSources = 8;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix mix(n, kSources), hessian(n, n);
  for (float& m : mix.values) m = normal(random);
  std::vector<float> size(n);
  for (float& s : size) s = std::exp(normal(random));
  std::vector<double> x(n), sums(n * n);
  for (std::int64_t t = 0; t < n_tokens; ++t) {
    float sources[kSources];
    for (float& s : sources) s = normal(random);
    for (std::int64_t i = 0; i < n; ++i) {
      x[i] = normal(random);
      for (int s = 0; s < kSources; ++s) x[i] += sources[s] * mix.row(i)[s];
      x[i] *= size[i];
    }
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j) sums[i * n + j] += x[i] * x[j];
    }
  }
  for (std::int64_t i = 0; i < n * n; ++i) {
    hessian.values[i] = static_cast<float>(sums[i] / static_cast<double>(n_tokens));
  }
  return hessian;
}

inline double quadratic_form(std::span<const float> x, const Matrix& hessian) {
  double sum = 0;
  for (std::int64_t i = 0; i < hessian.n_rows; ++i) {
    double product = 0;
    for (std::int64_t j = 0; j < hessian.n_cols; ++j) {
      product += static_cast<double>(hessian.row(i)[j]) * x[j];
    }
    sum += product * x[i];
  }
  return sum;
}

}  // namespace cria

#include "api/divergence.h"

#include <algorithm>
#include <cmath>

#include "cria/evaluate.h"

namespace cria {

double log_sum_exp(const float* row, std::int64_t n) {
  const double largest = *std::max_element(row, row + n);
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::exp(row[i] - largest);
  return largest + std::log(sum);
}

double kl_divergence(const float* reference, double reference_norm, const float* model,
                     std::int64_t n) {
  const double model_norm = log_sum_exp(model, n);
  double kl = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double log_p = reference[i] - reference_norm;
    kl += std::exp(log_p) * (log_p - (model[i] - model_norm));
  }
  return std::max(kl, 0.0);  // rounding can leave -1e-17
}

double kl_divergence(const float* reference, const float* model, std::int64_t n) {
  return kl_divergence(reference, log_sum_exp(reference, n), model, n);
}

}  // namespace cria

// What kl_divergence() (cria/evaluate.h) is made of, for one reference and many models.
#pragma once

#include <cstdint>

namespace cria {

// log(sum(exp(row))), in double.
double log_sum_exp(const float* row, std::int64_t n);

// kl_divergence(reference, model, n), the same bits; `reference_norm` is log_sum_exp(reference, n).
double kl_divergence(const float* reference, double reference_norm, const float* model,
                     std::int64_t n);

}  // namespace cria

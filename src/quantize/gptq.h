// GPTQ: codes column by column, each taking on the errors of those before it.
//
// Scales and mins are searched first, on the original weights with the diagonal of the Hessian (or
// given importance) as weights ("static groups"), so that codes stay in their natural order
// whatever the order of rounding. Then, from the last position of the factor to the first,
//   aim  = w[p] + (sum_{q > p} U[p][q] e[q]) / U[p][p],  code[p] = nearest(aim),  e[p] = w[p] -
//   q[p]
// which minimises e (H + damping I) e^T one column at a time (quantize/hessian_factor.h). Then each
// column is rounded once more in the same order, now that the errors of all others are known (a
// sweep of coordinate descent): 5 to 6 % less divergence with q4 and q4_0 on stories260k, and 8 to
// 9 % in two sweeps, which are not worth their time.
//
// Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained
// transformers", 2022; in the form of Chee et al., "QuIP", 2023, section 3 (LDLQ), which equals it.
#pragma once

#include <span>

#include "base/result.h"
#include "base/thread_pool.h"
#include "quantize/hessian_factor.h"
#include "quantize/matrix.h"
#include "quantize/rounding.h"
#include "tensor/encoding.h"

namespace cria {

// `importance` [n_cols] for the search of scales, as quantize_row() takes it. output_error is that
// of the Hessian without damping. Errors as round_matrix().
// REQUIRES: can_quantize(encoding), factor.n_cols() == weights.n_cols == importance.size(),
// n_sweeps >= 0.
Result<RoundedMatrix> round_gptq(const Matrix& weights, Encoding encoding,
                                 std::span<const float> importance, const HessianFactor& factor,
                                 ThreadPool& pool, int n_sweeps = 1);

}  // namespace cria

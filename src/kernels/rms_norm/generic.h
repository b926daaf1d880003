// The specification of rms_norm.
//
//   lane[i % 8] += double(x[i])^2 in order (squares are exact),  sum = sum_of_lanes(lane)
//   out[i] = (x[i] * float(1 / sqrt(sum / n + epsilon))) * weight[i]
//
// The sum is in double because it is cheap beside the matrices and takes one error source away.
#pragma once

#include <cmath>

#include "kernels/kernels.h"
#include "kernels/softmax/generic.h"

namespace cria::spec {
namespace {

inline float rms_scale(double sum_of_squares, std::int64_t n, float epsilon) {
  return static_cast<float>(
      1.0 / std::sqrt(sum_of_squares / static_cast<double>(n) + static_cast<double>(epsilon)));
}

inline void rms_norm(const RmsNormArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const float* x = args.x + t * args.x_stride;
    float* out = args.out + t * args.out_stride;
    double lanes[8] = {};
    for (std::int64_t i = 0; i < args.n_cols; ++i) {
      lanes[i % 8] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    const float scale = rms_scale(sum_of_lanes(lanes), args.n_cols, args.epsilon);
    for (std::int64_t i = 0; i < args.n_cols; ++i) out[i] = (x[i] * scale) * args.weight[i];
  }
}

}  // namespace
}  // namespace cria::spec

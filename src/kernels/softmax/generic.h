// The specification of softmax over one row, and the sum of eight lanes that other ops share.
#pragma once

#include <limits>

#include "kernels/activation/exp.h"
#include "kernels/kernels.h"

namespace cria::spec {
namespace {

// The fixed tree over eight partial sums: what two horizontal adds and one add across halves give.
template <typename T>
inline T sum_of_lanes(const T* lanes) {
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// Not-a-number is passed over here and comes back through the sum.
inline float max_of(const float* x, std::int64_t n) {
  float max = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

//   e[i] = exp(x[i] - max),  lane[i % 8] += e[i] in order,  out[i] = e[i] / sum_of_lanes
inline void softmax(const UnaryArgs& args) {
  const float max = max_of(args.x, args.n);
  float lanes[8] = {};
  for (std::int64_t i = 0; i < args.n; ++i) {
    args.out[i] = exp(args.x[i] - max);
    lanes[i % 8] += args.out[i];
  }
  const float sum = sum_of_lanes(lanes);
  for (std::int64_t i = 0; i < args.n; ++i) args.out[i] = args.out[i] / sum;
}

}  // namespace
}  // namespace cria::spec

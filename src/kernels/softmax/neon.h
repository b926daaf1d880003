// Reductions in the order of softmax/generic.h.
#pragma once

#include <arm_neon.h>

#include <limits>

#include "kernels/softmax/generic.h"

namespace cria::neon {
namespace {

// spec::sum_of_lanes of four arguments, two registers each.
inline float32x4_t sums_of_lanes(const float32x4_t (&v)[4][2]) {
  const float32x4_t low = vpaddq_f32(vpaddq_f32(v[0][0], v[0][1]), vpaddq_f32(v[1][0], v[1][1]));
  const float32x4_t high = vpaddq_f32(vpaddq_f32(v[2][0], v[2][1]), vpaddq_f32(v[3][0], v[3][1]));
  return vpaddq_f32(low, high);
}

// spec::max_of. Not vmax or vmaxnm: the one hands not-a-number on, the other some of them.
inline float max_of(const float* x, std::int64_t n) {
  float max = -std::numeric_limits<float>::infinity();
  std::int64_t i = 0;
  if (n >= 4) {
    float32x4_t lanes = vdupq_n_f32(max);
    for (; i + 4 <= n; i += 4) {
      const float32x4_t v = vld1q_f32(x + i);
      lanes = vbslq_f32(vcgtq_f32(v, lanes), v, lanes);
    }
    max = vmaxvq_f32(lanes);  // no not-a-number came so far
  }
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

}  // namespace
}  // namespace cria::neon

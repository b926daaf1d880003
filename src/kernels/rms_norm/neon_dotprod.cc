// rms_norm with NEON.
#include <arm_neon.h>

#include "kernels/isa.h"
#include "kernels/rms_norm/generic.h"

namespace cria {
namespace neon {
namespace {

inline double sum_of_squares(const float* x, std::int64_t n) {
  float64x2_t sums[4];
  for (float64x2_t& sum : sums) sum = vdupq_n_f64(0.0);
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int half = 0; half < 2; ++half) {
      const float32x4_t v = vld1q_f32(x + i + 4 * half);
      const float64x2_t low = vcvt_f64_f32(vget_low_f32(v));
      const float64x2_t high = vcvt_high_f64_f32(v);
      // The square is exact: fused or not is equal.
      sums[2 * half] = vfmaq_f64(sums[2 * half], low, low);
      sums[2 * half + 1] = vfmaq_f64(sums[2 * half + 1], high, high);
    }
  }
  double lanes[8];
  for (int pair = 0; pair < 4; ++pair) vst1q_f64(lanes + 2 * pair, sums[pair]);
  for (; i < n; ++i) lanes[i % 8] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return spec::sum_of_lanes(lanes);
}

}  // namespace
}  // namespace neon

void rms_norm_neon_dotprod(const RmsNormArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const float* x = args.x + t * args.x_stride;
    float* out = args.out + t * args.out_stride;
    const float scale =
        spec::rms_scale(neon::sum_of_squares(x, args.n_cols), args.n_cols, args.epsilon);
    std::int64_t i = 0;
    for (; i + 4 <= args.n_cols; i += 4) {
      const float32x4_t scaled = vmulq_n_f32(vld1q_f32(x + i), scale);
      vst1q_f32(out + i, vmulq_f32(scaled, vld1q_f32(args.weight + i)));
    }
    for (; i < args.n_cols; ++i) out[i] = (x[i] * scale) * args.weight[i];
  }
}

}  // namespace cria

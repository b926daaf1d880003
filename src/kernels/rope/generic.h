// The specification of rope: the pair (a, b) = (x[i], x[i + half]) turns by its angle.
//
//   a' = fma(a, cos, -(b * sin)),  b' = fma(b, cos, a * sin)
#pragma once

#include <cmath>

#include "kernels/kernels.h"

namespace cria::spec {
namespace {

inline void rope_head(float* head, std::int64_t first, std::int64_t half, const float* cos,
                      const float* sin) {
  for (std::int64_t i = first; i < half; ++i) {
    const float a = head[i];
    const float b = head[i + half];
    head[i] = std::fma(a, cos[i], -(b * sin[i]));
    head[i + half] = std::fma(b, cos[i], a * sin[i]);
  }
}

inline void rope(const RopeArgs& args) {
  const std::int64_t half = args.head_dim / 2;
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    for (std::int64_t h = 0; h < args.n_heads; ++h) {
      rope_head(args.x + t * args.x_stride + h * args.head_dim, 0, half, args.cos + t * half,
                args.sin + t * half);
    }
  }
}

}  // namespace
}  // namespace cria::spec

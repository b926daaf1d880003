// The specification of silu and swiglu.
#pragma once

#include "kernels/activation/exp.h"
#include "kernels/kernels.h"

namespace cria::spec {
namespace {

inline float silu_of(float x) { return x / (1.0f + exp(-x)); }

inline void silu(const UnaryArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.out[i] = silu_of(args.x[i]);
}

inline void swiglu(const SwiGluArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const float* gate = args.gate + t * args.in_stride;
    const float* up = args.up + t * args.in_stride;
    float* out = args.out + t * args.out_stride;
    for (std::int64_t i = 0; i < args.width; ++i) out[i] = silu_of(gate[i]) * up[i];
  }
}

}  // namespace
}  // namespace cria::spec

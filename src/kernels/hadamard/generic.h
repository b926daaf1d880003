// The specification of hadamard: per block of `block` columns, with H the Walsh-Hadamard matrix in
// natural order (H_1 = 1, H_2n = [H_n H_n; H_n -H_n]) and c = 1 / sqrt(block) rounded to float,
//
//   forward:  out = ((x * signs) H) * c            inverse:  out = ((x H) * c) * signs
//
// x H in log2(block) stages h = 1, 2, 4, ...: pairs (a, b), h apart, become (a + b, a - b).
#pragma once

#include <cmath>

#include "kernels/kernels.h"

namespace cria::spec {
namespace {

inline float hadamard_scale(std::int64_t block) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
}

inline void hadamard_stage(float* v, std::int64_t block, std::int64_t h) {
  for (std::int64_t i = 0; i < block; i += 2 * h) {
    for (std::int64_t j = i; j < i + h; ++j) {
      const float a = v[j];
      const float b = v[j + h];
      v[j] = a + b;
      v[j + h] = a - b;
    }
  }
}

inline void hadamard_block(const float* x, const float* signs, const HadamardArgs& args,
                           float* out) {
  for (std::int64_t i = 0; i < args.block; ++i) out[i] = args.inverse ? x[i] : x[i] * signs[i];
  for (std::int64_t h = 1; h < args.block; h *= 2) hadamard_stage(out, args.block, h);
  const float scale = hadamard_scale(args.block);
  for (std::int64_t i = 0; i < args.block; ++i) {
    out[i] *= scale;
    if (args.inverse) out[i] *= signs[i];
  }
}

inline void hadamard(const HadamardArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    for (std::int64_t c = 0; c < args.n_cols; c += args.block) {
      hadamard_block(args.x + t * args.x_stride + c, args.signs + c, args,
                     args.out + t * args.out_stride + c);
    }
  }
}

}  // namespace
}  // namespace cria::spec

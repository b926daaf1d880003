// The specification of attention: one pass over the cache in tiles of 64 positions, with a running
// maximum, so that no scratch grows with the context.
//
// For one token and head, for each tile [p0, p0 + n) of the positions it sees (p0 a multiple of 64,
// counted from position 0, so that a result does not depend on the tokens of the call):
//
//   dot[i]   lane[d % 8] = fma(q[d], k[i][d], lane[d % 8]) in order, then sum_of_lanes
//   s[i]   = dot[i] * scale;  top' = max(top, max s);  shrink = exp(top - top')
//   p[i]   = exp(s[i] - top')
//   sum[j] = sum[j] * shrink, then sum[i % 8] += p[i] in order
//   acc[d] = acc[d] * shrink, then acc[d] = fma(p[i], v[i][d], acc[d]) in order
//
// and finally out[d] = acc[d] * (1 / sum_of_lanes(sum)).
#pragma once

#include <cmath>
#include <limits>

#include "kernels/kernels.h"
#include "kernels/softmax/generic.h"
#include "tensor/float16.h"

namespace cria::spec {
namespace {

inline constexpr int kAttentionTile = 64;

inline float attention_dot(const float* q, const std::uint16_t* k, std::int64_t head_dim) {
  float lanes[8] = {};
  for (std::int64_t d = 0; d < head_dim; ++d) {
    lanes[d % 8] = std::fma(q[d], f16_to_f32(k[d]), lanes[d % 8]);
  }
  return sum_of_lanes(lanes);
}

// The running state of one token and head.
struct AttentionState {
  float top = -std::numeric_limits<float>::infinity();
  float sum[8] = {};
  float acc[kMaxHeadDim] = {};
};

inline void attend_tile(const AttentionArgs& args, const float* q, std::int64_t p0, int n,
                        AttentionState& state) {
  float s[kAttentionTile];
  for (int i = 0; i < n; ++i) {
    s[i] = attention_dot(q, args.k + (p0 + i) * args.head_dim, args.head_dim) * args.scale;
  }
  const float tile_top = max_of(s, n);
  const float top = tile_top > state.top ? tile_top : state.top;
  const float shrink = exp(state.top - top);
  state.top = top;
  for (float& sum : state.sum) sum *= shrink;
  for (std::int64_t d = 0; d < args.head_dim; ++d) state.acc[d] *= shrink;
  for (int i = 0; i < n; ++i) {
    const float p = exp(s[i] - top);
    state.sum[i % 8] += p;
    const std::uint16_t* v = args.v + (p0 + i) * args.head_dim;
    for (std::int64_t d = 0; d < args.head_dim; ++d) {
      state.acc[d] = std::fma(p, f16_to_f32(v[d]), state.acc[d]);
    }
  }
}

inline void attention(const AttentionArgs& args) {
  for (std::int64_t t = 0; t < args.n_tokens; ++t) {
    const std::int64_t n_positions = args.first_position + t + 1;
    for (std::int64_t h = 0; h < args.n_heads; ++h) {
      const float* q = args.q + t * args.q_stride + h * args.head_dim;
      float* out = args.out + t * args.out_stride + h * args.head_dim;
      AttentionState state;
      for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile) {
        const std::int64_t left = n_positions - p0;
        const int n = left < kAttentionTile ? static_cast<int>(left) : kAttentionTile;
        attend_tile(args, q, p0, n, state);
      }
      const float inverse = 1.0f / sum_of_lanes(state.sum);
      for (std::int64_t d = 0; d < args.head_dim; ++d) out[d] = state.acc[d] * inverse;
    }
  }
}

}  // namespace
}  // namespace cria::spec

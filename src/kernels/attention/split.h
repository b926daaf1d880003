// Attention of one token and head in three steps, so that two devices can share it: the numbers of
// attention/generic.h, tile by tile, kept in the records of a score row (format/plan/plan.h).
#pragma once

#include <algorithm>

#include "kernels/attention/generic.h"

namespace cria::spec {
namespace {

inline constexpr std::int64_t kRecordFloats =
    144;  // 128 scores or weights; shrink; 8 sums; padding
inline constexpr std::int64_t kRecordShrink = kAttentionTile;
inline constexpr std::int64_t kRecordSums = kAttentionTile + 1;

inline int positions_of_record(std::int64_t n_positions, std::int64_t record) {
  return static_cast<int>(
      std::clamp<std::int64_t>(n_positions - record * kAttentionTile, 0, kAttentionTile));
}

// Scores of the `n_positions` that the token sees.
inline void attention_scores(const AttentionArgs& args, const float* x, std::int64_t n_positions,
                             float* records) {
  AttentionQuery q;
  q.x = x;
  if (args.k_type == KvType::kQ8) {
    quantize_a8({x, 0, 1, 0, 1, args.head_dim, q.codes, q.blocks});
  }
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile, records += kRecordFloats) {
    const int n = positions_of_record(n_positions, p0 / kAttentionTile);
    attention_dots(args, q, p0, n, records);
    for (int i = 0; i < n; ++i) records[i] = records[i] * args.scale;
  }
}

// Scores -> weights, in place, with what was summed up.
inline void attention_softmax(std::int64_t n_positions, float* records) {
  float top = -std::numeric_limits<float>::infinity();
  float sum[8] = {};
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile, records += kRecordFloats) {
    const int n = positions_of_record(n_positions, p0 / kAttentionTile);
    const float tile_top = max_of(records, n);
    const float new_top = tile_top > top ? tile_top : top;
    const float shrink = exp(top - new_top);
    top = new_top;
    for (float& lane : sum) lane *= shrink;
    for (int i = 0; i < n; ++i) {
      records[i] = exp(records[i] - top);
      sum[i % 8] += records[i];
    }
    records[kRecordShrink] = shrink;
    std::copy_n(sum, 8, records + kRecordSums);
  }
}

// Weights times values.
inline void attention_mix(const AttentionArgs& args, std::int64_t n_positions, const float* records,
                          float* out) {
  AttentionState state;
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile, records += kRecordFloats) {
    const int n = positions_of_record(n_positions, p0 / kAttentionTile);
    for (std::int64_t d = 0; d < args.head_dim; ++d) state.acc[d] *= records[kRecordShrink];
    if (args.v_type == KvType::kF16) {
      add_values_f16(args, records, p0, n, state.acc);
    } else {
      add_values_q8(args, records, p0, n, state.acc);
    }
    std::copy_n(records + kRecordSums, 8, state.sum);
  }
  const float inverse = 1.0f / sum_of_lanes(state.sum);
  for (std::int64_t d = 0; d < args.head_dim; ++d) out[d] = state.acc[d] * inverse;
}

}  // namespace
}  // namespace cria::spec

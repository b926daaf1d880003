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

// Scores of the `n_positions` that the token sees.
inline void attention_scores(const AttentionArgs& args, const float* x, std::int64_t n_positions,
                             float* records) {
  const AttentionQuery q(args, x);
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile, records += kRecordFloats) {
    score_positions(args, q, p0, n_in_tile(n_positions, p0), records);
  }
}

// Scores -> weights, in place, with what was summed up.
inline void attention_softmax(std::int64_t n_positions, float* records) {
  AttentionState state;
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile, records += kRecordFloats) {
    records[kRecordShrink] =
        weigh_scores(records, n_in_tile(n_positions, p0), state.top, state.sum);
    std::copy_n(state.sum, kAttentionSums, records + kRecordSums);
  }
}

// Weights times values.
inline void attention_mix(const AttentionArgs& args, std::int64_t n_positions, const float* records,
                          float* out) {
  AttentionState state;
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile, records += kRecordFloats) {
    const int n = n_in_tile(n_positions, p0);
    add_values(args, records, p0, n, records[kRecordShrink], state.acc);
    std::copy_n(records + kRecordSums, kAttentionSums, state.sum);
  }
  divide_by_sum(state.acc, state.sum, args.head_dim, out);
}

}  // namespace
}  // namespace cria::spec

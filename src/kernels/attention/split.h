// Attention of one token and head in three steps, so that two devices can share it: the numbers of
// attention/generic.h, tile by tile, kept in the records of a score row (format/plan/plan.h).
#pragma once

#include "kernels/attention/generic.h"

namespace cria::spec {
namespace {

// 128 scores or weights; what becomes of sums; the sum of all weights so far; what makes scores of
// the 128, as spec::AttentionQuery has it; padding.
inline constexpr std::int64_t kRecordFloats = 144;
inline constexpr std::int64_t kRecordShrink = kAttentionTile;
inline constexpr std::int64_t kRecordGrow = kAttentionTile + 1;
inline constexpr std::int64_t kRecordSum = kAttentionTile + 2;
inline constexpr std::int64_t kRecordFactor = kAttentionTile + 3;

// Scores of the `n_positions` that the token sees.
inline void attention_scores(const AttentionArgs& args, const float* x, std::int64_t n_positions,
                             float* records) {
  const AttentionQuery q(args, x);
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile, records += kRecordFloats) {
    score_positions(args, q, p0, n_in_tile(n_positions, p0), records);
    records[kRecordFactor] = q.factor;
  }
}

// Scores -> weights for values of `v_type`, in place, with what was summed up.
inline void attention_softmax(KvType v_type, std::int64_t n_positions, float* records) {
  AttentionState state;
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile, records += kRecordFloats) {
    const TileFactors factors = weigh_scores(v_type, records[kRecordFactor], records,
                                             n_in_tile(n_positions, p0), state.top, state.sum);
    records[kRecordShrink] = factors.shrink;
    records[kRecordGrow] = factors.grow;
    records[kRecordSum] = sum_of_weights(state.sum);
  }
}

// Weights times values.
inline void attention_mix(const AttentionArgs& args, std::int64_t n_positions, const float* records,
                          float* out) {
  float acc[kMaxHeadDim] = {};
  float sum = 0.0f;
  for (std::int64_t p0 = 0; p0 < n_positions; p0 += kAttentionTile, records += kRecordFloats) {
    add_values(args, records, p0, n_in_tile(n_positions, p0),
               {records[kRecordShrink], records[kRecordGrow]}, acc);
    sum = records[kRecordSum];
  }
  divide_by_sum(acc, sum, args.head_dim, out);
}

}  // namespace
}  // namespace cria::spec

// Attention in three ops: what the processor does of it where a plan shares it with another device.
#include "delegates/cpu/cpu_method.h"
#include "kernels/attention/split.h"

namespace cria {

static_assert(spec::kRecordFloats == kScoreRecord && spec::kAttentionTile == kScorePositions);

// A task is one head of one token.
void CpuMethod::split_attention(const PlanOp& op, const CpuCall& call) {
  const KvShape& kv = plan_.kv;
  const PlanHeads heads = plan_.heads_of(op);
  const std::uint32_t records_of = op.kind == PlanOpKind::kMix ? op.x : op.out;
  parallel_for(call.n_tokens() * op.n_heads, [&](std::int64_t task) {
    const std::int64_t t = task / op.n_heads, head = task % op.n_heads;
    const std::int64_t n_positions = call.position + t + 1;
    float* records = row(records_of, call, t) + head * op.block * kScoreRecord;
    const std::int64_t kv_index = heads.first + head / heads.group;
    AttentionArgs args{.head_dim = kv.head_dim,
                       .k_type = kv.k_type,
                       .v_type = kv.v_type,
                       .k = kv_head(call, op.layer, kv_index, false),
                       .v = kv_head(call, op.layer, kv_index, true),
                       .scale = op.scale};
    if (op.kind == PlanOpKind::kScores) {
      const float* q = row(op.x, call, t) + op.column + head * kv.head_dim;
      return spec::attention_scores(args, q, n_positions, records);
    }
    if (op.kind == PlanOpKind::kSoftmax)
      return spec::attention_softmax(kv.v_type, n_positions, records);
    spec::attention_mix(args, n_positions, records,
                        row(op.out, call, t) + (heads.first_query() + head) * kv.head_dim);
  });
}

}  // namespace cria

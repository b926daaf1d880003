#include "format/plan/plan_cost.h"

#include <gtest/gtest.h>

#include "format/plan/plan_example.h"

namespace cria {
namespace {

std::uint64_t packed(Encoding encoding, std::int64_t n_rows, std::int64_t n_cols) {
  return packed_size_bytes(encoding, n_rows, n_cols).value();
}

PlanCost cost_of(const Plan& plan, PlanOpKind kind, std::int64_t n_tokens, std::int64_t position) {
  PlanCost cost;
  for (const PlanOp& op : plan.ops) {
    if (op.kind == kind) cost.add(plan_op_cost(plan, op, n_tokens, position));
  }
  return cost;
}

TEST(PlanCost, LinearsReadTheirWeightsOnceACall) {
  const Plan plan = example_plan();
  const std::uint64_t bytes = packed(Encoding::kQ4, 64, 64) + packed(Encoding::kQ4Nl, 64, 64) +
                              packed(Encoding::kF16, 64, 64) + packed(Encoding::kQ6K, 192, 64) +
                              packed(Encoding::kQ4KMin, 64, 96) + packed(Encoding::kQ8, 128, 64);
  const std::uint64_t macs = 64 * 64 + 64 * 64 + 64 * 64 + 192 * 64 + 64 * 96;
  const std::uint64_t head_macs = 128 * 64;  // of the last row alone
  for (std::int64_t n_tokens : {1, 5, 8}) {
    const PlanCost cost = cost_of(plan, PlanOpKind::kLinear, n_tokens, 100);
    EXPECT_EQ(cost.weight_bytes, bytes);
    EXPECT_EQ(cost.linear_macs, n_tokens * macs + head_macs);
    EXPECT_EQ(cost.kv_bytes + cost.attention_macs, 0u);
  }
}

TEST(PlanCost, BytesAreThoseThatAreStored) {
  const Plan plan = example_plan();
  const auto half = [](const PlanWeight& weight) -> std::uint64_t {
    return weight.packed ? packed(weight.encoding, weight.n_rows, weight.n_cols) / 2
                         : static_cast<std::uint64_t>(weight.n_cols) * sizeof(float);
  };
  for (const PlanOp& op : plan.ops) {
    if (op.kind != PlanOpKind::kLinear) continue;
    const PlanCost full = plan_op_cost(plan, op, 3, 0), stored = plan_op_cost(plan, op, 3, 0, half);
    EXPECT_EQ(2 * stored.weight_bytes, full.weight_bytes);
    EXPECT_EQ(stored.linear_macs, full.linear_macs);
  }
  EXPECT_LT(plan_cost(plan, 3, 0, half).weight_bytes, plan_cost(plan, 3, 0).weight_bytes);
}

TEST(PlanCost, AnEmbeddingIsReadByRows) {
  const Plan plan = example_plan();
  const PlanCost cost = cost_of(plan, PlanOpKind::kEmbed, 3, 0);
  EXPECT_EQ(cost.weight_bytes, 3 * packed(Encoding::kQ8, 128, 64) / 128);
  EXPECT_EQ(cost.macs(), 0u);
}

TEST(PlanCost, AttentionSeesWhatCameBefore) {
  const Plan plan = example_plan();
  const std::uint64_t per_position = plan.kv.bytes_per_position();
  const PlanCost one = cost_of(plan, PlanOpKind::kAttention, 1, 0);
  EXPECT_EQ(one.kv_bytes, per_position);
  EXPECT_EQ(one.attention_macs, 2u * 4 * 16);  // q.k and p.v, 4 heads of 16, one position
  const PlanCost deep = cost_of(plan, PlanOpKind::kAttention, 3, 10);
  EXPECT_EQ(deep.kv_bytes, 13 * per_position);
  EXPECT_EQ(deep.attention_macs, (11u + 12 + 13) * one.attention_macs);
  EXPECT_EQ(cost_of(plan, PlanOpKind::kKvAppend, 3, 10).kv_bytes, 3 * per_position);
}

TEST(PlanCost, OpsAreCalledByWhatTheyMake) {
  Plan plan = example_plan();
  std::vector<std::string> labels;
  for (const PlanOp& op : plan.ops) labels.push_back(plan_op_label(plan, op));
  EXPECT_EQ(labels, (std::vector<std::string>{"h", "normed", "qkv", "qkv", "qkv", "attention", "o",
                                              "gate_up", "ffn", "down", "sum", "silu", "product",
                                              "silu", "last", "logits", "logits"}));
  const PlanOp& norm = plan.ops[1];
  const PlanOp& append = plan.ops[4];
  EXPECT_EQ(plan_op_layer(plan, append), 0);
  const std::pair<const char*, std::int32_t> cases[] = {
      {"normed", -1},   {"blk.12.norm", 12}, {"blk.0.norm", 0},
      {"blk.", -1},     {"blk.3", -1},       {"blk.x.y", -1},
      {"blk.-1.y", -1}, {"blk.1x.y", -1},    {"blk.99999999999.y", -1}};
  for (const auto& [name, layer] : cases) {
    plan.buffers[norm.out].name = name;
    EXPECT_EQ(plan_op_layer(plan, norm), layer) << name;
  }
}

TEST(PlanCost, ACallIsTheSumOfItsOps) {
  const Plan plan = example_plan();
  PlanCost sum;
  for (int kind = 0; kind < kPlanOpKindCount; ++kind) {
    sum.add(cost_of(plan, static_cast<PlanOpKind>(kind), 7, 9));
  }
  const PlanCost whole = plan_cost(plan, 7, 9);
  EXPECT_EQ(whole.weight_bytes, sum.weight_bytes);
  EXPECT_EQ(whole.kv_bytes, sum.kv_bytes);
  EXPECT_EQ(whole.macs(), sum.macs());
}

}  // namespace
}  // namespace cria

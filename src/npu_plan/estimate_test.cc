#include "npu_plan/estimate.h"

#include <gtest/gtest.h>

#include "format/plan/plan_cost.h"
#include "format/plan/plan_example.h"

namespace cria {
namespace {

NpuProfile reference() {
  auto file = load_npu_profile(CRIA_SOURCE_DIR "/profiles/npu/hexagon-v79.toml");
  EXPECT_TRUE(file.ok());
  return file->profile;
}

// One linear of [n, k] in 4 bits a row, nothing else.
Plan one_linear(std::int64_t n, std::int64_t k, Encoding encoding) {
  Plan plan;
  plan.max_tokens = 1024;
  plan.weights = {{"w", encoding, true, n, k}};
  plan.buffers = {{"x", k, false, 0}, {"y", n, false, 0}};
  PlanOp op;
  op.kind = PlanOpKind::kLinear;
  op.x = 0;
  op.out = 1;
  op.weights = {0};
  plan.ops = {op};
  return plan;
}

TEST(Estimate, ALargeLinearOfOneTokenIsItsBytes) {
  const NpuProfile profile = reference();
  const Plan plan = one_linear(16384, 2048, Encoding::kQ4C);
  const auto estimate = estimate_npu_op(profile, plan, plan.ops[0], {1, 0, 0});
  ASSERT_TRUE(estimate.ok());
  const double bytes = static_cast<double>(*packed_size_bytes(Encoding::kQ4C, 16384, 2048));
  EXPECT_DOUBLE_EQ(estimate->dram_bytes, bytes);
  const double rate = profile.dram_bytes_per_s(0) * profile.dma.share(1 << 20);
  const double start = profile.vector.start_cycles / (profile.clock.states[0].vector_mhz * 1e6);
  EXPECT_GT(estimate->seconds, bytes / rate + start);
  EXPECT_LT(estimate->seconds, bytes / rate + start + 3e-6);
  EXPECT_EQ(estimate->bound, EstimateBound::kDma);
}

TEST(Estimate, ALargeLinearOfManyTokensIsItsMultiplyAdds) {
  const NpuProfile profile = reference();
  const Plan plan = one_linear(8192, 8192, Encoding::kQ4C);
  const auto estimate = estimate_npu_op(profile, plan, plan.ops[0], {1024, 0, 0});
  ASSERT_TRUE(estimate.ok());
  const double macs = 1024.0 * 8192 * 8192;
  const double seconds = macs / profile.peak_macs_per_s(MatrixMode::kA8W4, 0);
  EXPECT_EQ(estimate->bound, EstimateBound::kMatrix);
  EXPECT_GT(estimate->seconds, seconds);
  EXPECT_LT(estimate->seconds, seconds * 1.1);
  // Rows are rounded up to whole tiles.
  const auto one_more = estimate_npu_op(profile, plan, plan.ops[0], {1025, 0, 0});
  const auto whole_tile = estimate_npu_op(profile, plan, plan.ops[0], {1088, 0, 0});
  EXPECT_NEAR(one_more->seconds, whole_tile->seconds, whole_tile->seconds * 1e-2);
}

TEST(Estimate, ASlowerClockIsSlowerAndMoreCacheTakesLonger) {
  const NpuProfile profile = reference();
  Plan plan = example_plan();
  std::erase_if(plan.ops, [](const PlanOp& op) { return op.kind == PlanOpKind::kHadamard; });
  const auto fast = estimate_npu_call(profile, plan, {1, 10, 0});
  const auto slow = estimate_npu_call(profile, plan, {1, 10, 2});
  const auto deep = estimate_npu_call(profile, plan, {1, 4000, 0});
  ASSERT_TRUE(fast.ok() && slow.ok() && deep.ok()) << fast.status().message();
  EXPECT_GT(slow->seconds, fast->seconds);
  EXPECT_GT(deep->seconds, fast->seconds);
  EXPECT_DOUBLE_EQ(fast->host_seconds, (profile.host.submit_us + profile.host.complete_us) * 1e-6);
  double dram = 0;
  for (const PlanOp& op : plan.ops) {
    if (op.kind == PlanOpKind::kLinear)
      dram += static_cast<double>(plan_op_cost(plan, op, 1, 10).weight_bytes);
  }
  EXPECT_GE(fast->dram_bytes, dram);
  EXPECT_NEAR(fast->dram_joules, fast->dram_bytes * profile.dram.pj_per_byte * 1e-12, 1e-18);
}

TEST(Estimate, AModeThatIsMissingIsNamed) {
  NpuProfile profile = reference();
  for (auto& mode : profile.matrix.modes) mode.reset();
  profile.matrix.modes[static_cast<std::size_t>(MatrixMode::kA8W8)] = MatrixShape{4, 32, 32, 3072};
  const Plan plan = one_linear(64, 64, Encoding::kQ4C);
  const auto estimate = estimate_npu_op(profile, plan, plan.ops[0], {1, 0, 0});
  ASSERT_FALSE(estimate.ok());
  EXPECT_EQ(estimate.status().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace cria

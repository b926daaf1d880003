#include "npu_plan/estimate.h"

#include <gtest/gtest.h>

#include "format/plan/plan_cost.h"
#include "format/plan/plan_example.h"

namespace cria {
namespace {

NpuProfile profile() {
  NpuProfile p;
  p.cpu.dram_gb_per_s = 10;
  p.cpu.f32_gmac_per_s = 100;
  p.cpu.i8_gmac_per_s = 400;
  p.cpu.active_mw = 2000;
  p.dram.pj_per_byte = 50;
  p.host.submit_us = 30;
  p.host.complete_us = 20;
  return p;
}

const PlanOp& linear_of(const Plan& plan) {
  for (const PlanOp& op : plan.ops) {
    if (op.kind == PlanOpKind::kLinear) return op;
  }
  ADD_FAILURE() << "no linear";
  return plan.ops[0];
}

TEST(EstimateCpu, OneTokenIsItsBytes) {
  const Plan plan = example_plan();
  const PlanOp& op = linear_of(plan);
  NpuProfile slow = profile();
  slow.cpu.dram_gb_per_s = 0.01;
  const OpEstimate estimate = estimate_cpu_op(slow, plan, op, {1, 0});
  const auto bytes = static_cast<double>(plan_op_cost(plan, op, 1, 0).weight_bytes);
  EXPECT_DOUBLE_EQ(estimate.dram_bytes, bytes);
  EXPECT_DOUBLE_EQ(estimate.seconds, bytes / 1e7 + 2e-6);
  EXPECT_EQ(estimate.bound, EstimateBound::kDma);
  EXPECT_DOUBLE_EQ(estimate.device_joules, 2 * estimate.seconds);
  EXPECT_DOUBLE_EQ(estimate.dram_joules, bytes * 50e-12);
}

TEST(EstimateCpu, ManyTokensAreTheirMultiplyAdds) {
  const Plan plan = example_plan();
  NpuProfile slow = profile();
  slow.cpu.i8_gmac_per_s = slow.cpu.f32_gmac_per_s = 0.1;
  const OpEstimate one = estimate_cpu_op(slow, plan, linear_of(plan), {1, 0});
  const OpEstimate eight = estimate_cpu_op(slow, plan, linear_of(plan), {8, 0});
  EXPECT_EQ(eight.bound, EstimateBound::kCpu);
  EXPECT_NEAR(eight.seconds - 2e-6, 8 * (one.seconds - 2e-6), 1e-12);
}

TEST(EstimateCpu, AHandoffIsTheHostsCall) {
  EXPECT_DOUBLE_EQ(handoff_seconds(profile(), true), 30e-6);
  EXPECT_DOUBLE_EQ(handoff_seconds(profile(), false), 20e-6);
}

}  // namespace
}  // namespace cria

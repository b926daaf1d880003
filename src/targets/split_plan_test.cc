#include "targets/split_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/plan/plan_example.h"

namespace cria {
namespace {

using ::testing::IsEmpty;

std::vector<std::string> names(const Plan& plan, const std::vector<std::uint32_t>& buffers) {
  std::vector<std::string> list;
  for (const std::uint32_t id : buffers) list.push_back(plan.buffers[id].name);
  return list;
}

TEST(SplitPlanTest, WhatOneDeviceRunsStaysWhole) {
  const Plan plan = example_plan();
  for (const bool on_npu : {false, true}) {
    const auto parts = split_plan(plan, std::vector<bool>(plan.ops.size(), on_npu));
    ASSERT_EQ(parts.size(), 1u);
    EXPECT_EQ(parts[0].on_npu, on_npu);
    EXPECT_EQ(parts[0].plan, plan);
    EXPECT_THAT(parts[0].exports, IsEmpty());
  }
}

// Cut anywhere: every part is a valid plan, ops keep their order, and what is imported was
// exported.
void parts_fit_together(const Plan& plan, std::size_t first_cut) {
  for (std::size_t cut = first_cut; cut < plan.ops.size(); ++cut) {
    std::vector<bool> on_npu(plan.ops.size(), false);
    std::fill(on_npu.begin() + static_cast<std::ptrdiff_t>(cut), on_npu.end(), true);
    const auto parts = split_plan(plan, on_npu);
    ASSERT_EQ(parts.size(), 2u) << cut;
    EXPECT_EQ(parts[0].plan.ops.size(), cut);
    EXPECT_EQ(parts[1].plan.ops.size(), plan.ops.size() - cut);
    for (const PlanPart& part : parts) {
      const Status status = verify_plan(part.plan);
      EXPECT_TRUE(status.ok()) << cut << ": " << status.message();
      EXPECT_EQ(*decode_plan(encode_plan(part.plan), "part"), part.plan);
    }
    EXPECT_THAT(parts[0].plan.imports, IsEmpty());
    EXPECT_THAT(names(parts[0].plan, parts[0].exports),
                ::testing::UnorderedElementsAreArray(names(parts[1].plan, parts[1].plan.imports)))
        << cut;
  }
}

TEST(SplitPlanTest, PartsFitTogether) {
  parts_fit_together(example_plan(), 1);
  parts_fit_together(example_split_plan(), 6);  // before, scores on the NPU are two parts
}

// Scores of the second heads are a submission of their own: weights of the first can be made
// meanwhile.
TEST(SplitPlanTest, HeadsAreSubmittedOneAfterTheOther) {
  const Plan plan = example_split_plan();
  std::vector<bool> on_npu(plan.ops.size(), true);
  for (std::size_t i = 0; i < plan.ops.size(); ++i)
    on_npu[i] = plan.ops[i].kind != PlanOpKind::kSoftmax;
  const auto parts = split_plan(plan, on_npu);
  ASSERT_EQ(parts.size(), 6u);
  EXPECT_EQ(parts[0].plan.ops.back().kind, PlanOpKind::kScores);
  EXPECT_EQ(parts[1].plan.ops.size(), 1u);
  for (const std::size_t processor : {2u, 4u}) {
    EXPECT_FALSE(parts[processor].on_npu);
    ASSERT_EQ(parts[processor].plan.ops.size(), 1u);
    EXPECT_EQ(parts[processor].plan.ops[0].kind, PlanOpKind::kSoftmax);
  }
  EXPECT_EQ(names(parts[3].plan, parts[3].plan.imports), std::vector<std::string>{"scores0"});
  for (const PlanPart& part : parts) EXPECT_TRUE(verify_plan(part.plan).ok());
}

TEST(SplitPlanTest, APartThatImportsNothingIsRefusedWithoutItsInputs) {
  const Plan plan = example_plan();
  std::vector<bool> on_npu(plan.ops.size(), true);
  on_npu[0] = false;
  Plan rest = split_plan(plan, on_npu)[1].plan;
  ASSERT_FALSE(rest.imports.empty());
  rest.imports.clear();
  EXPECT_FALSE(verify_plan(rest).ok());
  rest.imports = {9999};
  EXPECT_FALSE(verify_plan(rest).ok());
}

}  // namespace
}  // namespace cria

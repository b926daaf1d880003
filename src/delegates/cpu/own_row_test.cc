// Which linears make the norm before them. That not a bit of the result tells:
// gated_linear_test.cc.
#include "delegates/cpu/own_row.h"

#include <gtest/gtest.h>

#include "format/plan/plan_example.h"

namespace cria {
namespace {

constexpr std::size_t kNormOp = 1, kNormedLinear = 2, kSum = 10;  // ops
constexpr std::uint32_t kResidual = 0, kNormed = 1, kQkv = 2, kAttention = 3;

// The example, in which only the linear reads what the norm makes.
Plan example_with_norm() {
  Plan plan = example_plan();
  plan.ops[kSum].y = kAttention;
  return plan;
}

std::vector<std::size_t> normed_linears(const Plan& plan) {
  const std::vector<bool> found = find_normed_linears(
      plan, [&](std::uint32_t w) { return !encoding_spec(plan.weights[w].encoding).dense(); });
  std::vector<std::size_t> ops;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i]) ops.push_back(i);
  }
  return ops;
}

TEST(OwnRow, NormsThatOnlyTheLinearBehindReads) {
  Plan plan = example_with_norm();
  ASSERT_TRUE(verify_plan(plan).ok()) << verify_plan(plan).message();
  EXPECT_EQ(normed_linears(plan), std::vector<std::size_t>{kNormedLinear});

  plan.ops[kSum].y = kNormed;
  EXPECT_EQ(normed_linears(plan), std::vector<std::size_t>{});
}

TEST(OwnRow, NotWhereFloatsAreRead) {
  Plan plan = example_with_norm();
  plan.weights[3].encoding = Encoding::kF16;
  EXPECT_EQ(normed_linears(plan), std::vector<std::size_t>{});
}

TEST(OwnRow, NotOfOtherRows) {
  Plan plan = example_with_norm();
  plan.ops[kNormedLinear].x = kResidual;
  EXPECT_EQ(normed_linears(plan), std::vector<std::size_t>{});
  plan = example_with_norm();
  plan.ops[kNormOp].kind = PlanOpKind::kSilu;
  EXPECT_EQ(normed_linears(plan), std::vector<std::size_t>{});
}

// A thread may be done when another has not read its input yet.
TEST(OwnRow, NotWhereResultsAreWrittenOverWhatIsNormed) {
  Plan plan = example_with_norm();
  plan.ops[kNormedLinear].out = kResidual;
  EXPECT_EQ(normed_linears(plan), std::vector<std::size_t>{});
  plan = example_with_norm();
  plan.buffers[kQkv].offset_bytes = plan.buffers[kResidual].offset_bytes + 64;  // shared memory
  EXPECT_EQ(normed_linears(plan), std::vector<std::size_t>{});
}

TEST(OwnRow, NotInAPartOfAMethod) {
  Plan plan = example_with_norm();
  plan.ops.erase(plan.ops.begin());
  EXPECT_EQ(normed_linears(plan), std::vector<std::size_t>{});
}

}  // namespace
}  // namespace cria

#include "targets/split_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

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

// A cut is the part that a split there gives.
TEST(SplitPlanTest, CutsImportWhatEarlierOpsLeft) {
  const Plan plan = example_plan();
  for (std::size_t first = 1; first < plan.ops.size(); ++first) {
    std::vector<bool> on_npu(plan.ops.size(), false);
    std::fill(on_npu.begin() + static_cast<std::ptrdiff_t>(first), on_npu.end(), true);
    const Plan split = split_plan(plan, on_npu)[1].plan,
               cut = cut_plan(plan, first, plan.ops.size());
    EXPECT_EQ(cut, split) << first;
  }
  const Plan middle = cut_plan(plan, 7, 10);  // the feed-forward half of a layer
  EXPECT_TRUE(verify_plan(middle).ok());
  EXPECT_EQ(names(middle, middle.imports), std::vector<std::string>{"h"});
  EXPECT_EQ(middle.ops.size(), 3u);
  EXPECT_TRUE(cut_plan(plan, 0, plan.ops.size()).imports.empty());
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

// Two layers of three ops of attention each, whose buffers follow each other in the same memory.
Plan crowded_plan() {
  Plan plan = example_split_plan();
  const std::vector<PlanOp> layer(plan.ops.begin() + 1, plan.ops.begin() + 15);
  auto second = plan.ops.insert(plan.ops.begin() + 15, layer.begin(), layer.end());
  for (std::size_t i = 0; i < layer.size(); ++i, ++second) second->layer = 1;
  plan.kv.n_layers = 2;
  plan.buffers[4].offset_bytes = plan.buffers[2].offset_bytes;   // gate_up over qkv and attention
  plan.buffers[5].offset_bytes = plan.buffers[11].offset_bytes;  // ffn over scores
  plan.buffers[7].offset_bytes = plan.buffers[12].offset_bytes;  // silu over the other scores
  return plan;
}

// What lies where: granules of 64 bytes of scratch, then halves of layers of the cache.
using Places = std::vector<std::int64_t>;

void add_buffer(const Plan& plan, std::uint32_t id, Places& places) {
  const PlanBuffer& buffer = plan.buffers[id];
  const std::int64_t n_rows = buffer.single_row ? 1 : plan.max_tokens;
  const std::int64_t first = static_cast<std::int64_t>(buffer.offset_bytes) / 64;
  const std::int64_t end = first + (n_rows * buffer.width * 4 + 63) / 64;
  for (std::int64_t at = first; at < end; ++at) places.push_back(at);
}

std::int64_t half_of_cache(const Plan& plan, std::int32_t layer, bool is_value) {
  return static_cast<std::int64_t>(plan.scratch_bytes) / 64 + 1 + 2 * layer + (is_value ? 1 : 0);
}

Places places_read(const Plan& plan, const PlanOp& op) {
  Places places;
  for (const std::uint32_t id : plan_op_reads(plan, op)) add_buffer(plan, id, places);
  const bool whole = op.kind == PlanOpKind::kAttention;
  if (whole || op.kind == PlanOpKind::kScores)
    places.push_back(half_of_cache(plan, op.layer, false));
  if (whole || op.kind == PlanOpKind::kMix) places.push_back(half_of_cache(plan, op.layer, true));
  return places;
}

Places places_written(const Plan& plan, const PlanOp& op) {
  Places places;
  if (op.out != kNoBuffer) add_buffer(plan, op.out, places);
  if (op.kind == PlanOpKind::kKvAppend) {
    for (const bool is_value : {false, true})
      places.push_back(half_of_cache(plan, op.layer, is_value));
  }
  return places;
}

// By op, who wrote what it reads; last, who wrote what is there in the end.
using Seen = std::vector<std::map<std::int64_t, std::size_t>>;

// Runs parts in this order. Part p has ops [first[p], first[p + 1]) of the plan.
Seen run_parts(const Plan& plan, const std::vector<std::size_t>& first,
               const std::vector<std::size_t>& order) {
  Seen seen(plan.ops.size());
  std::map<std::int64_t, std::size_t> writer;
  for (const std::size_t part : order) {
    for (std::size_t op = first[part]; op < first[part + 1]; ++op) {
      for (const std::int64_t place : places_read(plan, plan.ops[op])) {
        const auto known = writer.find(place);
        if (known != writer.end()) seen[op][place] = known->second;
      }
      for (const std::int64_t place : places_written(plan, plan.ops[op])) writer[place] = op;
    }
  }
  seen.push_back(writer);
  return seen;
}

// One of the orders that `after` allows, each part as soon as it is drawn.
std::vector<std::size_t> random_order(const std::vector<PlanPart>& parts, std::mt19937& random) {
  std::vector<std::size_t> order;
  std::vector<bool> done(parts.size(), false);
  while (order.size() < parts.size()) {
    std::vector<std::size_t> ready;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto is_done = [&](std::size_t before) { return done[before]; };
      if (!done[i] && std::ranges::all_of(parts[i].after, is_done)) ready.push_back(i);
    }
    order.push_back(ready[random() % ready.size()]);
    done[order.back()] = true;
  }
  return order;
}

// Where each part's ops begin in the plan, and where all end.
std::vector<std::size_t> first_ops(const std::vector<PlanPart>& parts) {
  std::vector<std::size_t> first = {0};
  for (const PlanPart& part : parts) first.push_back(first.back() + part.plan.ops.size());
  return first;
}

// Any order that `after` allows gives every op, and the next call, what the list's order gives it.
TEST(SplitPlanTest, WhatAPartComesAfterIsEnough) {
  const Plan plan = crowded_plan();
  ASSERT_TRUE(verify_plan(plan).ok()) << verify_plan(plan).message();
  std::mt19937 random(1);
  int n_reordered = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<bool> on_npu(plan.ops.size());
    for (std::size_t i = 0; i < on_npu.size(); ++i) on_npu[i] = random() % 2 == 0;
    const auto parts = split_plan(plan, on_npu);
    const auto first = first_ops(parts);
    std::vector<std::size_t> in_order(parts.size());
    std::iota(in_order.begin(), in_order.end(), std::size_t{0});
    const Seen expected = run_parts(plan, first, in_order);
    for (int i = 0; i < 8; ++i) {
      const auto order = random_order(parts, random);
      n_reordered += order != in_order;
      ASSERT_EQ(run_parts(plan, first, order), expected) << "round " << round;
    }
  }
  EXPECT_GT(n_reordered, 100);
}

TEST(SplitPlanTest, WhatAPartComesAfterIsNeeded) {
  const Plan plan = crowded_plan();
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    std::vector<bool> on_npu(plan.ops.size());
    for (std::size_t i = 0; i < on_npu.size(); ++i) on_npu[i] = random() % 2 == 0;
    std::vector<std::set<std::size_t>> all_before;  // by part, also through others
    for (const PlanPart& part : split_plan(plan, on_npu)) {
      std::set<std::size_t> before;
      for (const std::size_t other : part.after) {
        ASSERT_LT(other, all_before.size());
        before.insert(all_before[other].begin(), all_before[other].end());
      }
      for (const std::size_t other : part.after) {
        EXPECT_FALSE(before.contains(other))
            << "round " << round << ": others come after " << other;
      }
      before.insert(part.after.begin(), part.after.end());
      all_before.push_back(std::move(before));
    }
  }
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

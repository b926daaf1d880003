#include "npu_plan/place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "format/plan/plan_cost.h"
#include "format/plan/plan_example.h"

namespace cria {
namespace {

using testing::HasSubstr;

PlaceProblem random_problem(const Plan& plan, int seed) {
  std::mt19937 random(static_cast<unsigned>(seed));
  std::uniform_real_distribution<double> cost(1e-6, 1e-3);
  PlaceProblem problem;
  problem.n_prefill_calls = 2;
  problem.n_decode_steps = 5;
  problem.handoff_seconds[0] = cost(random) * 0.3;
  problem.handoff_seconds[1] = cost(random) * 0.3;
  problem.bytes_per_second = 1e6;
  problem.prefill_tokens = 4;
  for (auto& costs : problem.costs) {
    for (std::size_t i = 0; i < plan.ops.size(); ++i) {
      PlaceCost op;
      op.prefill_seconds = cost(random);
      op.decode_seconds = cost(random);
      costs.push_back(op);
    }
  }
  return problem;
}

// The cost of a given map, counted op by op without any search: nullopt if an append and its
// attention part.
std::optional<double> cost_of(const Plan& plan, const PlaceProblem& problem, unsigned map) {
  std::vector<unsigned> has(plan.buffers.size(), 0);
  double prefill = 0, decode = 0;
  unsigned last = 0, cache = 0;
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    const PlanOp& op = plan.ops[i];
    const unsigned device = map >> i & 1u;
    if (op.kind == PlanOpKind::kKvAppend) cache = device;
    if (op.kind == PlanOpKind::kAttention && cache != device) return std::nullopt;
    const auto handoff = device != last ? problem.handoff_seconds[device] : 0.0;
    prefill += *problem.costs[device][i].prefill_seconds + handoff;
    decode += *problem.costs[device][i].decode_seconds + handoff;
    std::vector<std::uint32_t> reads = {op.x, op.y};
    if (plan_op_updates(plan, op)) reads.push_back(op.out);
    for (const std::uint32_t buffer : reads) {
      if (buffer == kNoBuffer || has[buffer] == 0 || (has[buffer] >> device & 1u) != 0) continue;
      const double row =
          4.0 * static_cast<double>(plan.buffers[buffer].width) / problem.bytes_per_second;
      decode += row;
      prefill += row * (plan.buffers[buffer].single_row ? 1 : problem.prefill_tokens);
      has[buffer] |= 1u << device;
    }
    if (op.out != kNoBuffer) has[op.out] = 1u << device;
    last = device;
  }
  if (last == 1) {
    prefill += problem.handoff_seconds[0];
    decode += problem.handoff_seconds[0];
  }
  return problem.n_prefill_calls * prefill + problem.n_decode_steps * decode;
}

// Exact: no map of all that there are is cheaper.
TEST(PlaceOps, EqualsTheBestOfAllMaps) {
  const Plan plan = example_plan();
  ASSERT_LE(plan.ops.size(), 18u);
  for (int seed = 0; seed < 8; ++seed) {
    const PlaceProblem problem = random_problem(plan, seed);
    double best = 1e9;
    for (unsigned map = 0; map < 1u << plan.ops.size(); ++map)
      best = std::min(best, cost_of(plan, problem, map).value_or(1e9));
    const auto placed = place_ops(plan, problem);
    ASSERT_TRUE(placed.ok()) << placed.status().message();
    EXPECT_NEAR(problem.n_prefill_calls * placed->prefill_seconds +
                    problem.n_decode_steps * placed->decode_seconds,
                best, best * 1e-12)
        << seed;
    unsigned map = 0;
    for (std::size_t i = 0; i < plan.ops.size(); ++i)
      map |= static_cast<unsigned>(placed->device[i]) << i;
    EXPECT_NEAR(*cost_of(plan, problem, map), best, best * 1e-12) << seed;
  }
}

TEST(PlaceOps, PinsHold) {
  const Plan plan = example_plan();
  PlaceProblem problem = random_problem(plan, 1);
  for (const PlaceDevice device : {PlaceDevice::kCpu, PlaceDevice::kNpu}) {
    problem.pins = {{"linear", device}};
    const auto placed = place_ops(plan, problem);
    ASSERT_TRUE(placed.ok()) << placed.status().message();
    for (std::size_t i = 0; i < plan.ops.size(); ++i) {
      const bool linear = plan.ops[i].kind == PlanOpKind::kLinear;
      EXPECT_EQ(placed->pinned[i], linear);
      if (linear) {
        EXPECT_EQ(placed->device[i], device);
      }
    }
  }
  problem.pins = {{"softmax", PlaceDevice::kCpu}};
  const auto unknown = place_ops(plan, problem);
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(unknown.status().message(), HasSubstr("softmax"));
}

// A layer whose attention the NPU cannot do keeps its cache, and what fills it, on the processor.
TEST(PlaceOps, TheRestLeavesACacheWhereItsAttentionRuns) {
  const Plan plan = example_plan();
  PlaceProblem problem = random_problem(plan, 1);
  problem.rest_on_npu = true;
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    if (plan.ops[i].kind != PlanOpKind::kAttention) continue;
    problem.costs[1][i] = {std::nullopt, std::nullopt, EstimateBound::kCpu, EstimateBound::kCpu,
                           "too long a context"};
  }
  const auto placed = place_ops(plan, problem);
  ASSERT_TRUE(placed.ok()) << placed.status().message();
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    EXPECT_EQ(placed->device[i],
              plan_op_uses_cache(plan.ops[i]) ? PlaceDevice::kCpu : PlaceDevice::kNpu)
        << i;
  }
}

// What no pin names goes to the NPU, however cheap it were elsewhere; only pins are told as such.
TEST(PlaceOps, TheRestRunsOnTheNpuWhereItCan) {
  const Plan plan = example_plan();
  for (int seed = 0; seed < 8; ++seed) {
    PlaceProblem problem = random_problem(plan, seed);
    problem.rest_on_npu = true;
    problem.pins = {{"attention", PlaceDevice::kCpu}};
    problem.costs[1][0] = {std::nullopt, std::nullopt, EstimateBound::kCpu, EstimateBound::kCpu,
                           "no such engine"};
    const auto placed = place_ops(plan, problem);
    ASSERT_TRUE(placed.ok()) << placed.status().message();
    for (std::size_t i = 0; i < plan.ops.size(); ++i) {
      const bool on_npu = i > 0 && !plan_op_uses_cache(plan.ops[i]);  // kv_append follows
      EXPECT_EQ(placed->device[i], on_npu ? PlaceDevice::kNpu : PlaceDevice::kCpu) << i;
      EXPECT_EQ(placed->pinned[i], plan.ops[i].kind == PlanOpKind::kAttention) << i;
    }
    unsigned map = 0;
    for (std::size_t i = 0; i < plan.ops.size(); ++i)
      map |= static_cast<unsigned>(placed->device[i]) << i;
    const double cost = problem.n_prefill_calls * placed->prefill_seconds +
                        problem.n_decode_steps * placed->decode_seconds;
    PlaceProblem known = problem;
    known.costs[1][0] = problem.costs[0][0];
    EXPECT_NEAR(*cost_of(plan, known, map), cost, cost * 1e-12) << seed;
  }
}

using Places = Result<std::vector<bool>>;

TEST(PlaceByPins, OnePinOfALayersCacheIsEnough) {
  const Plan plan = example_split_plan();
  for (const char* op : {"kv_append", "scores", "mix"}) {
    const Places places =
        place_by_pins(plan, {{op, PlaceDevice::kCpu}, {"softmax", PlaceDevice::kCpu}});
    ASSERT_TRUE(places.ok()) << places.status().message();
    for (std::size_t i = 0; i < plan.ops.size(); ++i)
      EXPECT_EQ((*places)[i], i < 4 || i > 10) << op << i;
  }
}

TEST(PlaceByPins, TheCacheLiesWhereItsLayerAttends) {
  const Plan plan = example_split_plan();
  const Places mixed =
      place_by_pins(plan, {{"attention", PlaceDevice::kNpu}, {"softmax", PlaceDevice::kCpu}});
  ASSERT_TRUE(mixed.ok()) << mixed.status().message();
  for (std::size_t i = 0; i < plan.ops.size(); ++i)
    EXPECT_EQ((*mixed)[i], plan.ops[i].kind != PlanOpKind::kSoftmax) << i;
  const Places cpu =
      place_by_pins(plan, {{"attention", PlaceDevice::kCpu}, {"softmax", PlaceDevice::kCpu}});
  ASSERT_TRUE(cpu.ok()) << cpu.status().message();
  for (std::size_t i = 0; i < plan.ops.size(); ++i)
    EXPECT_EQ((*cpu)[i], i < 4 || i > 10) << i;  // with kv_append
}

TEST(PlaceByPins, SaysWhichPinCannotBeAndWhy) {
  struct Case {
    PlacePins pins;
    const char* message;
  };
  const Case cases[] = {
      {{{"softmax", PlaceDevice::kNpu}}, "softmax of layer 0 is on the NPU"},
      {{{"scores", PlaceDevice::kNpu}}, "softmax of layer 0 is on the NPU"},
      {{{"scores", PlaceDevice::kNpu}, {"softmax", PlaceDevice::kCpu}, {"mix", PlaceDevice::kCpu}},
       "scores and mix of layer 0 are on different devices"},
      {{{"kv_append", PlaceDevice::kNpu},
        {"attention", PlaceDevice::kCpu},
        {"softmax", PlaceDevice::kCpu}},
       "kv_append and scores of layer 0 are on different devices"},
      {{{"conv", PlaceDevice::kCpu}}, "\"conv\": no op of this kind or name"},
  };
  for (const Case& c : cases) {
    const Places places = place_by_pins(example_split_plan(), c.pins);
    ASSERT_FALSE(places.ok()) << c.message;
    EXPECT_THAT(places.status().message(), HasSubstr(c.message));
  }
  EXPECT_FALSE(parse_pins({{"attention", "gpu"}}).ok());
}

TEST(PlaceOps, AnOpThatOneDeviceLacksGoesToTheOther) {
  const Plan plan = example_plan();
  PlaceProblem problem = random_problem(plan, 2);
  problem.costs[1][0] = {std::nullopt, std::nullopt, EstimateBound::kCpu, EstimateBound::kCpu,
                         "no such engine"};
  const auto placed = place_ops(plan, problem);
  ASSERT_TRUE(placed.ok());
  EXPECT_EQ(placed->device[0], PlaceDevice::kCpu);
  problem.pins = {{plan_op_name(plan.ops[0].kind), PlaceDevice::kNpu}};
  const auto refused = place_ops(plan, problem);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(refused.status().message(), HasSubstr("no such engine"));
}

}  // namespace
}  // namespace cria

// Linears whose SwiGLU is made with them: which are, and that not a bit of the result tells.
#include "delegates/cpu/gated_linear.h"

#include <gtest/gtest.h>

#include <random>

#include "delegates/cpu/cpu_delegate.h"
#include "delegates/fake_host_for_test.h"
#include "format/plan/plan_example.h"

namespace cria {
namespace {

constexpr std::int64_t kMostTokens = 560;
constexpr std::size_t kLinear = 7, kDown = 9;  // ops

// The example with gate and up of its own, wider than a task's columns, for up to kMostTokens
// tokens.
Plan gated_plan() {
  Plan plan = example_plan();
  plan.max_tokens = kMostTokens;
  plan.weights[6] = {"gate", Encoding::kQ4NlK, true, 144, 64};
  plan.weights[7] = {"down", Encoding::kQ4, true, 64, 144};
  plan.weights.push_back({"up", Encoding::kQ6, true, 144, 64});
  plan.buffers[4].width = 288;
  plan.buffers[5].width = 144;
  plan.ops[kLinear].weights = {6, 8};
  plan.scratch_bytes = 0;
  for (PlanBuffer& buffer : plan.buffers) {
    buffer.offset_bytes = plan.scratch_bytes;
    const std::int64_t n_rows = buffer.single_row ? 1 : kMostTokens;
    plan.scratch_bytes += static_cast<std::uint64_t>(n_rows * buffer.width * 4 + 63) / 64 * 64;
  }
  return plan;
}

// The same with a norm before either of the two large linears, which nobody else reads.
Plan normed_plan() {
  Plan plan = gated_plan();
  plan.ops[kDown + 1].y = 3;
  plan.ops[kLinear].x = 1;
  plan.ops.insert(
      plan.ops.begin() + kLinear,
      {.kind = PlanOpKind::kRmsNorm, .x = 0, .out = 1, .weights = {1}, .epsilon = 1e-5f});
  return plan;
}

std::vector<Gating> gating_of(const Plan& plan) {
  return find_gated_linears(
      plan, [&](std::uint32_t w) { return !encoding_spec(plan.weights[w].encoding).dense(); },
      [](std::uint32_t) { return true; });
}

// A host whose packed weights have random codes.
class RandomHost : public FakeHost {
 public:
  explicit RandomHost(const Plan& plan) {
    add_weights(plan.weights);
    std::mt19937 random(7);
    for (const PlanWeight& weight : plan.weights) {
      if (!weight.packed || encoding_spec(weight.encoding).dense()) continue;
      cria_bytes data{};
      EXPECT_EQ(table()->get_named_data(table()->context, weight.key.c_str(), &data), 0);
      const PanelLayout layout = panel_layout(weight.encoding, weight.n_cols);
      auto* bytes = static_cast<std::uint8_t*>(const_cast<void*>(data.data));
      for (std::size_t panel = 0; panel < data.size_bytes; panel += layout.size_bytes) {
        const EncodingSpec spec = encoding_spec(weight.encoding);
        for (std::int64_t g = 0; g * kColumnGroup < weight.n_cols; ++g) {
          std::uint8_t* codes = bytes + panel + spec.codes_offset(g, layout.scale_shift);
          for (int i = 0; i < spec.group_bytes(); ++i) {
            codes[i] = static_cast<std::uint8_t>(random());
          }
        }
      }
    }
  }
};

// Runs the plan once with int8 activations; returns the ops that were recorded.
std::vector<std::string> run_once(const Plan& plan, FakeHost& host, FakeArguments& arguments) {
  const std::vector<std::byte> blob = encode_plan(plan);
  const cria_option options[] = {{"act", "a8"}};
  void* handle = nullptr;
  const cria_delegate* delegate = cpu_delegate();
  EXPECT_EQ(delegate->init(host.table(), {blob.data(), blob.size()}, options, 1, &handle), 0)
      << host.message;
  EXPECT_EQ(delegate->execute(handle, arguments.args.data(), arguments.args.size()), 0)
      << host.message;
  std::vector<std::string> ops;
  for (const cria_op_record& record : host.records) ops.emplace_back(record.op);
  delegate->destroy(handle);
  return ops;
}

// What the layer makes of its tokens: nobody writes the residual stream after the gated linear's
// results were added to it.
std::vector<float> residual_of(const Plan& plan, std::int64_t n_tokens, bool listens) {
  RandomHost host(plan);
  if (listens) host.listen();
  FakeArguments arguments(plan, n_tokens, n_tokens);
  for (std::int64_t t = 0; t < n_tokens; ++t) arguments.tokens[t] = t * 37 % plan.n_vocab;
  run_once(plan, host, arguments);
  const PlanBuffer& residual = plan.buffers[0];
  const auto* rows =
      reinterpret_cast<const float*>(arguments.scratch.data() + residual.offset_bytes);
  return {rows, rows + n_tokens * residual.width};
}

TEST(GatedLinear, PairsThatOnlyTheirSwiGluReads) {
  Plan plan = gated_plan();
  ASSERT_TRUE(verify_plan(plan).ok()) << verify_plan(plan).message();
  std::vector<Gating> expected(plan.ops.size(), Gating::kNone);
  expected[kLinear] = Gating::kQuantized;
  EXPECT_EQ(gating_of(plan), expected);

  plan.weights[7].encoding = Encoding::kF16;  // the next linear wants floats
  expected[kLinear] = Gating::kFloats;
  EXPECT_EQ(gating_of(plan), expected);
  plan = gated_plan();
  plan.ops[kDown + 1].y = 5;  // so does an op behind it
  EXPECT_EQ(gating_of(plan), expected);

  expected[kLinear] = Gating::kNone;
  plan = gated_plan();
  plan.ops[kDown + 1].y = 4;  // what the linear itself makes is read once more
  EXPECT_EQ(gating_of(plan), expected);
  plan = gated_plan();
  plan.weights[8].encoding = Encoding::kF16;
  EXPECT_EQ(gating_of(plan), expected);
  EXPECT_EQ(gating_of(example_plan()), expected);  // one matrix
  plan = gated_plan();
  plan.ops.erase(plan.ops.begin());  // a part of a method
  EXPECT_EQ(gating_of(plan), std::vector<Gating>(plan.ops.size(), Gating::kNone));
}

TEST(GatedLinear, ResultsAreThoseOfTheOpsOneByOne) {
  for (const Encoding down : {Encoding::kQ4, Encoding::kF16}) {
    Plan plan = gated_plan();
    plan.weights[7].encoding = down;
    // Few: a tile and less, more than one. Many: one pass, not full; one with a rest that goes with
    // it; one and a rest of its own; that with a rest after another; two and a rest of its own.
    for (const std::int64_t n_tokens : {2, 7, 32, 33, 127, 128, 287, 288, 520, 560}) {
      const std::vector<float> together = residual_of(plan, n_tokens, false);
      EXPECT_NE(together.front(), together.back());
      EXPECT_EQ(together, residual_of(plan, n_tokens, true)) << n_tokens;
    }
  }
}

// Each thread makes its own input, norm and all.
TEST(GatedLinear, OneTokenGetsWhatItGetsBesideAnother) {
  for (const Encoding down : {Encoding::kQ4, Encoding::kF16}) {
    for (Plan plan : {gated_plan(), normed_plan()}) {
      plan.weights[7].encoding = down;
      ASSERT_TRUE(verify_plan(plan).ok()) << verify_plan(plan).message();
      const std::vector<float> alone = residual_of(plan, 1, false);
      EXPECT_NE(alone.front(), alone.back());
      EXPECT_EQ(alone, residual_of(plan, 1, true));
      std::vector<float> beside = residual_of(plan, 2, false);
      beside.resize(alone.size());
      EXPECT_EQ(alone, beside);
    }
  }
}

TEST(GatedLinear, RecordsHaveAllOpsWhenTheyRunAsOne) {
  const Plan plan = normed_plan();
  FakeHost host;
  host.add_weights(plan.weights);
  host.record();
  FakeArguments arguments(plan, 1, 1);
  const std::vector<std::string> ops = run_once(plan, host, arguments);
  std::uint64_t last_ns = 0;
  for (const cria_op_record& record : host.records) {
    EXPECT_LE(last_ns, record.start_ns);
    EXPECT_LE(record.start_ns, record.end_ns);
    last_ns = record.end_ns;
  }
  std::vector<std::string> expected;
  for (const PlanOp& op : plan.ops) expected.push_back(plan_op_name(op.kind));
  EXPECT_EQ(ops, expected);
}

}  // namespace
}  // namespace cria

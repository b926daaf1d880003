// What the cpu delegate refuses. That it computes the right thing is tests/conformance.
#include "delegates/cpu/cpu_delegate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/cpu_features.h"
#include "cria/status.h"
#include "delegates/cpu/cpu_delegate.h"
#include "delegates/fake_host_for_test.h"
#include "format/plan/plan_cost.h"
#include "format/plan/plan_example.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kContext = 10;

class CpuDelegateTest : public ::testing::Test {
 protected:
  CpuDelegateTest() { host_.add_weights(plan_.weights); }
  ~CpuDelegateTest() override { release(); }

  void release() {
    if (handle_ != nullptr) delegate_->destroy(handle_);
    handle_ = nullptr;
  }

  ErrorCode init_with(std::span<const std::byte> blob, std::vector<cria_option> options = {}) {
    release();
    host_.message.clear();
    return static_cast<ErrorCode>(delegate_->init(host_.table(), {blob.data(), blob.size()},
                                                  options.data(), options.size(), &handle_));
  }
  ErrorCode init(std::vector<cria_option> options = {}) {
    return init_with(encode_plan(plan_), std::move(options));
  }
  ErrorCode execute(FakeArguments& arguments) {
    host_.message.clear();
    return static_cast<ErrorCode>(
        delegate_->execute(handle_, arguments.args.data(), arguments.args.size()));
  }

  const cria_delegate* delegate_ = cpu_delegate();
  Plan plan_ = example_plan();
  FakeHost host_;
  void* handle_ = nullptr;
};

TEST_F(CpuDelegateTest, RunsAndTellsTheSizeOfItsResult) {
  for (const char* act : {"a8", "a16"}) {
    ASSERT_EQ(init({{"act", act}}), ErrorCode::kOk) << host_.message;
    FakeArguments arguments(plan_, 3, kContext);
    ASSERT_EQ(execute(arguments), ErrorCode::kOk) << host_.message;
    EXPECT_EQ(arguments.args[4].sizes[1], 1) << "the plan gives the last row only";
    EXPECT_EQ(arguments.args[4].size_bytes, 128u * 4);
    EXPECT_TRUE(std::isfinite(arguments.logits[0]));
  }
}

// The last linear writes the output tensor itself, which is aligned to floats only.
TEST_F(CpuDelegateTest, LogitsMayStartAtAnyFloat) {
  ASSERT_EQ(init({{"act", "a8"}}), ErrorCode::kOk) << host_.message;
  FakeArguments arguments(plan_, 3, kContext);
  ASSERT_EQ(execute(arguments), ErrorCode::kOk) << host_.message;
  const auto n = static_cast<std::size_t>(plan_.n_vocab);
  const std::vector<float> expected(arguments.logits.begin(),
                                    arguments.logits.begin() + plan_.n_vocab);
  EXPECT_NE(expected.back(), 0.0f);
  for (std::size_t first = 1; first < 16; ++first) {
    FakeArguments again(plan_, 3, kContext);
    std::vector<float> logits(first + 3 * n + 1, 99.0f);
    again.args[4].data = logits.data() + first;
    ASSERT_EQ(execute(again), ErrorCode::kOk) << host_.message;
    const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = begin + static_cast<std::ptrdiff_t>(n);
    EXPECT_EQ(std::vector<float>(begin, end), expected) << first;
    EXPECT_EQ(*(begin - 1), 99.0f);
    EXPECT_EQ(*end, 99.0f);
  }
}

TEST_F(CpuDelegateTest, EveryOpIsRecordedForWhoeverListens) {
  host_.listen();
  ASSERT_EQ(init({{"act", "a8"}}), ErrorCode::kOk) << host_.message;
  FakeArguments arguments(plan_, 3, kContext);
  arguments.position = 2;
  ASSERT_EQ(execute(arguments), ErrorCode::kOk) << host_.message;
  ASSERT_EQ(host_.records.size(), plan_.ops.size());
  std::uint64_t last_ns = 0;
  PlanCost sum;
  for (std::size_t i = 0; i < plan_.ops.size(); ++i) {
    const cria_op_record& record = host_.records[i];
    EXPECT_STREQ(record.op, plan_op_name(plan_.ops[i].kind));
    EXPECT_EQ(record.name, plan_op_label(plan_, plan_.ops[i]));
    EXPECT_EQ(record.layer, plan_op_layer(plan_, plan_.ops[i]));
    EXPECT_EQ(record.n_tokens, 3);
    EXPECT_GE(record.start_ns, last_ns) << "ops follow each other";
    EXPECT_GE(record.end_ns, record.start_ns);
    last_ns = record.end_ns;
    sum.add({record.weight_bytes, record.kv_bytes, record.macs, 0});
  }
  const PlanCost cost = plan_cost(plan_, 3, 2);
  EXPECT_EQ(sum.weight_bytes, cost.weight_bytes);
  EXPECT_EQ(sum.kv_bytes, cost.kv_bytes);
  EXPECT_EQ(sum.macs(), cost.macs());
}

TEST_F(CpuDelegateTest, EveryCutOfThePlanIsRefused) {
  const std::vector<std::byte> blob = encode_plan(plan_);
  for (std::size_t size = 0; size < blob.size(); ++size) {
    ASSERT_EQ(init_with(std::span(blob).first(size)), ErrorCode::kBadInput) << size;
    ASSERT_FALSE(host_.message.empty());
  }
}

TEST_F(CpuDelegateTest, ShowsWhatLinearsReadOnceForAllReaders) {
  // The second reader of buffer 0, before it is written again.
  plan_.buffers.push_back({"again", 192, false, plan_.scratch_bytes});
  plan_.scratch_bytes += 8 * 192 * 4;
  plan_.ops.insert(plan_.ops.begin() + 8,
                   {.kind = PlanOpKind::kLinear, .x = 0, .out = 11, .weights = {6}});
  ASSERT_TRUE(verify_plan(plan_).ok());
  for (const char* act : {"a8", "a16"}) {
    host_.listen();
    ASSERT_EQ(init({{"act", act}}), ErrorCode::kOk) << host_.message;
    host_.shown.clear();
    FakeArguments arguments(plan_, 3, kContext);
    arguments.tokens = {5, 6, 7};
    ASSERT_EQ(execute(arguments), ErrorCode::kOk) << host_.message;
    std::vector<std::string> shown;
    for (const FakeHost::ShownInput& input : host_.shown) {
      shown.push_back(
          fmt::format("{} [{}, {}]", fmt::join(input.weights, " "), input.n_rows, input.n_cols));
    }
    EXPECT_THAT(shown, testing::ElementsAre("q kv [3, 64]", "o [3, 64]", "gate_up gate_up [3, 64]",
                                            "down [3, 96]", "embed [1, 64]"));
    // The first one is read where the plan says that it is.
    const auto* normed =
        reinterpret_cast<const float*>(arguments.scratch.data() + plan_.buffers[1].offset_bytes);
    EXPECT_TRUE(std::equal(host_.shown[0].rows.begin(), host_.shown[0].rows.end(), normed));
  }
}

TEST_F(CpuDelegateTest, WeightsMustBeThereInTheRightSizeAndPlace) {
  for (const char* key : {"q", "norm"}) {
    host_.remove(key);
    EXPECT_EQ(init(), ErrorCode::kBadInput);
    EXPECT_THAT(host_.message, HasSubstr(key));
    host_.add_weights(plan_.weights);
  }
  const std::size_t right = packed_size_bytes(Encoding::kQ4, 64, 64).value();
  for (std::size_t wrong : {std::size_t{0}, right - 1, right + 1, 2 * right}) {
    host_.add("q", wrong);
    EXPECT_EQ(init(), ErrorCode::kBadInput) << wrong;
    EXPECT_THAT(host_.message, HasSubstr(std::to_string(right)));
  }
  host_.add("q", right, 0, 32);
  EXPECT_EQ(init(), ErrorCode::kBadInput);
  EXPECT_THAT(host_.message, HasSubstr("multiple of 64"));
  host_.add("q", right);
  EXPECT_EQ(init(), ErrorCode::kOk);
}

TEST_F(CpuDelegateTest, OptionsThatMakeNoSense) {
  EXPECT_EQ(init({{"act", "a4"}}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(init({{"isa", "z80"}}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(init({{"speed", "11"}}), ErrorCode::kInvalidArgument);
  EXPECT_THAT(host_.message, HasSubstr("speed"));
  const Isa foreign = cpu_supports(Isa::kNeonDotprod) ? Isa::kAvx2 : Isa::kNeonDotprod;
  EXPECT_EQ(init({{"isa", isa_name(foreign)}}), ErrorCode::kUnsupported);
  EXPECT_EQ(init({{"isa", "generic"}, {"act", "a8"}}), ErrorCode::kOk);
}

TEST_F(CpuDelegateTest, HeadsWiderThanTheKernelsTake) {
  Plan wide;
  wide.max_tokens = 1;
  wide.n_vocab = 16;
  wide.kv = {1, 1, 258};
  wide.weights = {{"table", Encoding::kF16, true, 16, 16}};
  wide.buffers = {{"logits", 16, false, 0}};
  wide.scratch_bytes = 64;
  wide.ops = {{.kind = PlanOpKind::kEmbed, .out = 0, .weights = {0}},
              {.kind = PlanOpKind::kOutput, .x = 0}};
  host_.add_weights(wide.weights);
  EXPECT_EQ(init_with(encode_plan(wide)), ErrorCode::kUnsupported);
  EXPECT_THAT(host_.message, HasSubstr("258"));
}

TEST_F(CpuDelegateTest, ArgumentsOfTheWrongForm) {
  ASSERT_EQ(init(), ErrorCode::kOk);
  for (std::size_t n : {0, 1, 4, 6}) {
    FakeArguments arguments(plan_, 2, kContext);
    arguments.args.resize(n);
    EXPECT_EQ(execute(arguments), ErrorCode::kInvalidArgument) << n;
  }
  const std::function<void(FakeArguments&)> faults[] = {
      [](FakeArguments& a) { a.args[0].dtype = 3; },
      [](FakeArguments& a) { a.args[1].dtype = 6; },
      [](FakeArguments& a) { a.args[2].dtype = 1; },
      [](FakeArguments& a) { a.args[3].dtype = 6; },
      [](FakeArguments& a) { a.args[4].dtype = 5; },
      [](FakeArguments& a) { a.args[0].size_bytes = 0; },
      [](FakeArguments& a) { a.args[1].size_bytes = 0; },
      [](FakeArguments& a) { a.args[2].rank = 1; },
      [](FakeArguments& a) { a.args[2].sizes[1] += 2; },
      [](FakeArguments& a) { a.args[3].size_bytes -= 1; },
      [](FakeArguments& a) { a.args[3].data = a.scratch.data() + 4; },
      [](FakeArguments& a) { a.args[2].data = a.kv.data() + 1; },
      [](FakeArguments& a) { a.args[4].rank = 2; },
      [](FakeArguments& a) { a.args[4].sizes[0] = 2; },
      [](FakeArguments& a) { a.args[4].sizes[1] = 0; },
      [](FakeArguments& a) { a.args[4].sizes[2] = 127; },
      [](FakeArguments& a) { a.tokens[1] = -1; },
      [](FakeArguments& a) { a.tokens[0] = 128; },
      [](FakeArguments& a) { a.tokens[0] = std::int64_t{1} << 32; },
      [](FakeArguments& a) { a.position = -1; },
  };
  for (const auto& fault : faults) {
    FakeArguments arguments(plan_, 2, kContext);
    fault(arguments);
    EXPECT_EQ(execute(arguments), ErrorCode::kInvalidArgument) << &fault - faults;
    EXPECT_FALSE(host_.message.empty());
  }
  FakeArguments many(plan_, 9, kContext);
  EXPECT_EQ(execute(many), ErrorCode::kInvalidArgument);
}

TEST_F(CpuDelegateTest, PositionsBehindTheEndOfTheCache) {
  ASSERT_EQ(init(), ErrorCode::kOk);
  for (std::int64_t position : {kContext - 1, kContext, std::numeric_limits<std::int64_t>::max()}) {
    FakeArguments arguments(plan_, 2, kContext);
    arguments.position = position;
    EXPECT_EQ(execute(arguments), ErrorCode::kOutOfResources) << position;
    const auto* kv = arguments.kv.data();
    EXPECT_TRUE(std::all_of(kv, kv + arguments.kv.size_bytes(), [](std::byte b) {
      return b == std::byte{};
    })) << "nothing was written";
  }
  FakeArguments fits(plan_, 2, kContext);
  fits.position = kContext - 2;
  EXPECT_EQ(execute(fits), ErrorCode::kOk) << host_.message;
  FakeArguments none(plan_, 1, 0);
  EXPECT_EQ(execute(none), ErrorCode::kOutOfResources);
}

}  // namespace
}  // namespace cria

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "cria/npu.h"
#include "cria/timeline.h"
#include "cria/toolchain.h"

namespace cria {
namespace {

using testing::HasSubstr;

// models/cria-tiny for a phone's NPU, softmax on the processor; and for one device alone.
class NpuTimelineTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::filesystem::temp_directory_path() /
              ("npu_timeline_test." + std::to_string(::getpid()));
    std::filesystem::create_directory(folder_);
    CompileOptions options;
    options.source = CRIA_SOURCE_DIR "/models/cria-tiny";
    options.recipe = "q4_0";
    options.prefill_chunk = 16;
    ASSERT_TRUE(compile(options, cpu()).ok());
    options.device = "sim:hexagon-v79";
    ASSERT_TRUE(compile(options, npu()).ok());
    options.pins = {{"softmax", "cpu"}};
    ASSERT_TRUE(compile(options, shared()).ok());
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder_); }
  static std::string cpu() { return folder_ / "cpu.pte"; }
  static std::string npu() { return folder_ / "npu.pte"; }
  static std::string shared() { return folder_ / "shared.pte"; }

  static std::string error(const std::string& path, std::vector<TimelineStep> steps,
                           std::vector<double> measured = {}) {
    const Result<Timeline> timeline = npu_timeline(path, steps, measured);
    return timeline.ok() ? "no error" : timeline.status().message();
  }

  static inline std::filesystem::path folder_;
};

constexpr TimelineStep kSteps[] = {{16, 0}, {16, 16}, {1, 32}};
constexpr std::size_t kLayers = 4;
constexpr std::size_t kOps = 2 * 2 * kLayers + kLayers;  // two groups of heads a prefill step

TEST_F(NpuTimelineTest, EstimatesWhatWasNotMeasured) {
  const Result<Timeline> timeline = npu_timeline(shared(), kSteps);
  ASSERT_TRUE(timeline.ok()) << timeline.status().message();
  EXPECT_EQ(timeline->trace, npu_timeline(shared(), kSteps)->trace);
  EXPECT_THAT(timeline->trace, HasSubstr("\"processor_ops\":\"estimated\""));
  ASSERT_EQ(timeline->steps.size(), 3u);
  for (const TimelineStepTimes& step : timeline->steps) {
    EXPECT_GT(step.npu_seconds, 0);
    EXPECT_GT(step.cpu_seconds, 0);
    EXPECT_LE(step.npu_seconds + step.cpu_seconds - step.both_seconds, step.seconds);
  }
  EXPECT_EQ(timeline->steps[2].method, "decode");
}

// Both are at work at once where the processor has something to do for long enough.
TEST_F(NpuTimelineTest, BothAreAtWorkAtOnce) {
  const std::vector<double> slow(kOps, 2e-3);
  const Result<Timeline> timeline = npu_timeline(shared(), kSteps, slow);
  ASSERT_TRUE(timeline.ok()) << timeline.status().message();
  EXPECT_THAT(timeline->trace, HasSubstr("\"processor_ops\":\"measured\""));
  const TimelineStepTimes& prefill = timeline->steps[0];
  EXPECT_GT(prefill.both_seconds, 0);
  EXPECT_NEAR(prefill.cpu_seconds, 2 * kLayers * 2e-3, 1e-12);
  EXPECT_EQ(timeline->steps[2].both_seconds, 0);  // a token's heads go in one group
}

// What `cria plan` says of a placement before anything is compiled is what the program then does on
// its clock: the same parts, the same overlaps.
TEST_F(NpuTimelineTest, APlanTellsWhatTheProgramDoes) {
  NpuModelOptions options;
  options.model = CRIA_SOURCE_DIR "/models/cria-tiny";
  options.quant = "q4_0";
  options.n_prompt = options.prefill_chunk = 16;
  options.n_context = 32;
  options.n_generate = 2048 - 32;  // as long a context as the program has
  for (const char* kind :
       {"embed", "rms_norm", "linear", "rope", "attention", "swiglu", "last_row", "output"})
    options.pins.emplace_back(kind, "npu");
  for (const std::string power : {"high_performance", "low_power"}) {
    options.power_profile = power;
    for (const std::string& path : {npu(), shared()}) {
      if (path == shared()) options.pins.emplace_back("softmax", "cpu");
      const Result<NpuPlanReport> plan = plan_on_npu(options);
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      const Result<Timeline> timeline = npu_timeline(path, kSteps, {}, power);
      ASSERT_TRUE(timeline.ok()) << timeline.status().message();
      EXPECT_DOUBLE_EQ(plan->prefill.ms, 1e3 * timeline->steps[0].seconds) << power << path;
      EXPECT_DOUBLE_EQ(plan->decode.ms, 1e3 * timeline->steps[2].seconds) << power << path;
      EXPECT_DOUBLE_EQ(plan->decode_tokens_per_second, 1 / timeline->steps[2].seconds);
      EXPECT_DOUBLE_EQ(plan->prefill_tokens_per_second, 16 / timeline->steps[0].seconds);
      if (path == shared()) {
        EXPECT_GT(timeline->steps[0].both_seconds, 0) << power;
        options.pins.pop_back();
      }
    }
  }
}

TEST_F(NpuTimelineTest, APowerProfileIsOfTheNpu) {
  std::vector<double> seconds;
  for (const char* power : {"high_performance", "balanced", "low_power"}) {
    const Result<Timeline> timeline = npu_timeline(shared(), kSteps, {}, power);
    ASSERT_TRUE(timeline.ok()) << timeline.status().message();
    seconds.push_back(timeline->steps[0].npu_seconds);
    EXPECT_EQ(timeline->steps[0].cpu_seconds, npu_timeline(shared(), kSteps)->steps[0].cpu_seconds);
  }
  EXPECT_LT(seconds[0], seconds[1]);
  EXPECT_LT(seconds[1], seconds[2]);
  EXPECT_THAT(npu_timeline(shared(), kSteps, {}, "turbo").status().message(), HasSubstr("turbo"));
}

TEST_F(NpuTimelineTest, ANpuAloneHasNoOpsOfTheProcessor) {
  EXPECT_FALSE(is_shared_with_npu(npu()));
  EXPECT_FALSE(is_shared_with_npu(cpu()));
  EXPECT_FALSE(is_shared_with_npu(folder_ / "none.pte"));
  EXPECT_TRUE(is_shared_with_npu(shared()));
  const Result<Timeline> timeline = npu_timeline(npu(), kSteps);
  ASSERT_TRUE(timeline.ok()) << timeline.status().message();
  for (const TimelineStepTimes& step : timeline->steps) EXPECT_EQ(step.cpu_seconds, 0);
}

TEST_F(NpuTimelineTest, RefusesWhatDoesNotFitTheProgram) {
  EXPECT_THAT(error(cpu(), {{1, 0}}), HasSubstr("compiled for no NPU"));
  EXPECT_THAT(error(shared(), {{17, 0}}),
              HasSubstr("17 tokens at position 0, prefill takes 1 to 16"));
  EXPECT_THAT(error(shared(), {{0, 0}}), HasSubstr("0 tokens"));
  EXPECT_THAT(error(shared(), {{1, -1}}), HasSubstr("position -1"));
  EXPECT_THAT(error(shared(), {{1, 1 << 20}}), HasSubstr("compiled for a context of 2048"));
  EXPECT_THAT(error(shared(), {{1, 0}}, {1e-3}), HasSubstr("the processor runs more"));
  EXPECT_THAT(error(shared(), {{1, 0}}, std::vector<double>(5, 1e-3)),
              HasSubstr("5 measured ops, the processor runs 4"));
}

}  // namespace
}  // namespace cria

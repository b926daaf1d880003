#include "npu_plan/queue.h"

#include <gtest/gtest.h>

#include <random>

namespace cria {
namespace {

constexpr QueueCosts kCosts{10, 5, 4};

TEST(QueueTest, AChainIsOneAfterTheOther) {
  const QueuedPart parts[] = {{true, 100, {}}, {false, 40, {0}}, {true, 30, {1}}};
  const QueueTimes times = run_queue(parts, kCosts);
  EXPECT_EQ(times.parts[0].start_ps, 10);
  EXPECT_EQ(times.parts[1].start_ps, 115);  // the host is told
  EXPECT_EQ(times.parts[2].submit_ps, 155);
  EXPECT_EQ(times.parts[2].start_ps, 165);
  EXPECT_EQ(times.end_ps, 200);
  EXPECT_EQ(times.both_ps, 0);
  EXPECT_EQ(times.submit_ps, 2 * kCosts.submit_ps);
  EXPECT_EQ(times.complete_ps, 2 * kCosts.complete_ps);
}

// The scores of the second heads while the processor makes weights of the first.
TEST(QueueTest, BothAreAtWorkWhereNothingForbidsIt) {
  const QueuedPart parts[] = {{true, 100, {}}, {true, 100, {}},  {false, 60, {0}},
                              {true, 20, {2}}, {false, 60, {1}}, {true, 20, {4}}};
  const QueueTimes times = run_queue(parts, kCosts);
  EXPECT_EQ(times.parts[1].start_ps, 110);
  EXPECT_EQ(times.parts[2].start_ps, 115);
  EXPECT_EQ(times.parts[3].start_ps, 210);  // the NPU is at work on the second scores
  EXPECT_EQ(times.parts[4].start_ps, 215);
  EXPECT_EQ(times.both_ps, 60 + 15);
  EXPECT_LT(times.end_ps, 100 + 100 + 60 + 20 + 60 + 20);
}

TEST(QueueTest, AFullQueueHoldsTheHost) {
  const std::vector<QueuedPart> parts(6, {true, 100, {}});
  const QueueTimes times = run_queue(parts, kCosts);
  EXPECT_EQ(times.parts[3].submit_ps, 30);
  EXPECT_EQ(times.parts[4].submit_ps, times.parts[0].end_ps + kCosts.complete_ps);
  EXPECT_EQ(times.end_ps, 10 + 600 + 5);
}

// The first submission starts a part; the host is busy with all of them.
TEST(QueueTest, APartMayTakeSeveralSubmissions) {
  const QueuedPart parts[] = {{true, 100, {}, 3}, {false, 40, {}}};
  const QueueTimes times = run_queue(parts, kCosts);
  EXPECT_EQ(times.parts[0].start_ps, 10);
  EXPECT_EQ(times.parts[1].start_ps, 30);
  EXPECT_EQ(times.both_ps, 40);
}

// Runs and handing over fill the call, whatever waits for what.
TEST(QueueTest, TimesAddUp) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<QueuedPart> parts(1 + random() % 20);
    std::int64_t run = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      parts[i] = {random() % 2 == 0, static_cast<std::int64_t>(random() % 50), {}, 1};
      for (std::size_t k = 0; k < i; ++k)
        if (random() % 5 == 0) parts[i].after.push_back(k);
      run += parts[i].run_ps;
    }
    const QueueTimes times = run_queue(parts, kCosts);
    EXPECT_EQ(run - times.both_ps + times.submit_ps + times.complete_ps, times.end_ps) << round;
    EXPECT_LE(times.submit_ps, std::ssize(parts) * kCosts.submit_ps);
  }
}

TEST(QueueTest, NothingTakesNoTime) { EXPECT_EQ(run_queue({}, kCosts).end_ps, 0); }

}  // namespace
}  // namespace cria

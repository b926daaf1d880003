#include "runtime/call_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>

namespace cria {
namespace {

using Calls = std::vector<CallQueue::Call>;

// Both are in a call at the same time: each waits until the other has come.
TEST(CallQueueTest, DeviceAndHostWorkAtOnce) {
  CallQueue queue;
  std::mutex mutex;
  std::condition_variable changed;
  int n_here = 0;
  const auto meet = [&](std::size_t) -> Status {
    std::unique_lock lock(mutex);
    ++n_here;
    changed.notify_all();
    const bool met = changed.wait_for(lock, std::chrono::seconds(60), [&] { return n_here == 2; });
    return met ? Status() : internal_error("nobody came");
  };
  const Status status = queue.run(Calls{{true, {}}, {false, {}}}, meet);
  EXPECT_TRUE(status.ok()) << status.message();
}

// Random lists: each call finds all that it comes after done, and runs once.
TEST(CallQueueTest, DependenciesHold) {
  CallQueue queue;
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    Calls calls(1 + random() % 24);
    for (std::size_t i = 0; i < calls.size(); ++i) {
      calls[i].on_device = random() % 2 == 0;
      for (std::size_t k = 0; k < i; ++k)
        if (random() % 6 == 0) calls[i].after.push_back(k);
    }
    std::vector<std::atomic<int>> n_done(calls.size());
    std::atomic<int> n_on_device = 0, n_on_host = 0;
    const auto execute = [&](std::size_t i) -> Status {
      std::atomic<int>& n = calls[i].on_device ? n_on_device : n_on_host;
      if (n.fetch_add(1) != 0) return internal_error("call {} beside another of its own", i);
      for (const std::size_t before : calls[i].after)
        if (n_done[before] != 1) return internal_error("call {} before {}", i, before);
      ++n_done[i];
      n.fetch_sub(1);
      return {};
    };
    const Status status = queue.run(calls, execute);
    ASSERT_TRUE(status.ok()) << status.message();
    for (const auto& n : n_done) ASSERT_EQ(n, 1);
  }
}

// A failure is told, nothing hangs, and the next run is as good as the first.
TEST(CallQueueTest, AFailureEndsTheRun) {
  CallQueue queue;
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    Calls calls(8);
    for (std::size_t i = 0; i < calls.size(); ++i) {
      calls[i].on_device = random() % 2 == 0;
      if (i > 0) calls[i].after = {i - 1};
    }
    const std::size_t bad = random() % calls.size();
    std::atomic<std::size_t> last = 0;
    const Status status = queue.run(calls, [&](std::size_t i) -> Status {
      last = i;
      return i == bad ? internal_error("call {}", i) : Status();
    });
    EXPECT_EQ(status.message(), "call " + std::to_string(bad));
    EXPECT_EQ(last, bad);
    EXPECT_TRUE(queue.run(calls, [](std::size_t) { return Status(); }).ok());
  }
}

TEST(CallQueueTest, NothingToDo) {
  CallQueue queue;
  EXPECT_TRUE(queue.run({}, [](std::size_t) { return Status(); }).ok());
}

}  // namespace
}  // namespace cria

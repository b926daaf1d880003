// How the panels of a linear are shared: all of them once, in order, as many bytes for each thread.
#include "delegates/cpu/linear_tasks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>
#include <vector>

namespace cria {
namespace {

constexpr std::size_t kTaskBytes = 128 * 1024;

struct Part {
  std::size_t weight;
  std::int64_t first, n;
  bool operator==(const Part&) const = default;
};

std::vector<Part> parts_of(const LinearTasks& tasks, std::int64_t task) {
  std::vector<Part> parts;
  tasks.for_each_part(task, [&](std::size_t weight, std::int64_t first, std::int64_t n) {
    parts.push_back({weight, first, n});
  });
  return parts;
}

std::size_t bytes_of(const std::vector<LinearWeight>& weights, const std::vector<Part>& parts) {
  std::size_t bytes = 0;
  for (const Part& part : parts) {
    bytes += static_cast<std::size_t>(part.n) * weights[part.weight].panel_bytes;
  }
  return bytes;
}

// Query, key and value of a 1B shape in 4 bits; of several encodings; few panels, none, no four.
const std::vector<std::vector<LinearWeight>> kOps = {
    {{128, 18432}, {32, 18432}, {32, 18432}},
    {{128, 18432}, {32, 34816}, {32, 26880}},
    {{8016, 34816}},
    {{1, 4096}},
    {{3, 4096}, {2, 640}},
    {{0, 18432}, {7, 18432}, {0, 18432}},
};

std::vector<LinearTasks> all_tasks(const std::vector<LinearWeight>& weights, int n_threads) {
  return {LinearTasks::equal(weights, kTaskBytes, n_threads),
          LinearTasks::halving(weights, kTaskBytes, n_threads)};
}

TEST(LinearTasks, HaveAllPanelsOnceInOrder) {
  for (const std::vector<LinearWeight>& weights : kOps) {
    for (const int n_threads : {1, 2, 3, 16}) {
      for (const LinearTasks& tasks : all_tasks(weights, n_threads)) {
        std::vector<std::int64_t> next(weights.size(), 0);
        std::size_t at = 0;
        for (std::int64_t task = 0; task < tasks.n_tasks(); ++task) {
          for (const Part& part : parts_of(tasks, task)) {
            EXPECT_GE(part.weight, at);
            at = part.weight;
            EXPECT_EQ(part.first, next[at]);
            EXPECT_EQ(part.first % 4, 0);
            EXPECT_GT(part.n, 0);
            next[at] += part.n;
          }
        }
        for (std::size_t i = 0; i < weights.size(); ++i) EXPECT_EQ(next[i], weights[i].n_panels);
      }
    }
  }
}

// To half a four of panels at either end.
TEST(LinearTasks, ThreadsHaveAsManyTasksAndBytes) {
  for (std::size_t op = 0; op < 3; ++op) {
    const std::vector<LinearWeight>& weights = kOps[op];
    std::size_t all = 0, four = 0;
    for (const LinearWeight& weight : weights) {
      all += weight.bytes();
      four = std::max(four, 4 * weight.panel_bytes);
    }
    for (const int n_threads : {1, 2, 3, 16}) {
      for (const LinearTasks& tasks : all_tasks(weights, n_threads)) {
        ASSERT_EQ(tasks.n_tasks() % n_threads, 0);
        const std::int64_t n = tasks.n_tasks() / n_threads;
        for (int thread = 0; thread < n_threads; ++thread) {
          std::size_t bytes = 0;
          for (std::int64_t i = 0; i < n; ++i) {
            bytes += bytes_of(weights, parts_of(tasks, thread * n + i));
          }
          EXPECT_NEAR(static_cast<double>(bytes), static_cast<double>(all) / n_threads,
                      static_cast<double>(four));
        }
      }
    }
  }
}

TEST(LinearTasks, EqualTasksHaveWhatWasAskedForOrLessWhereThereIsLittle) {
  const std::vector<LinearWeight>& logits = kOps[2];
  const LinearTasks many = LinearTasks::equal(logits, kTaskBytes, 2);
  for (std::int64_t task = 0; task < many.n_tasks(); ++task) {
    EXPECT_LE(bytes_of(logits, parts_of(many, task)), kTaskBytes + 4 * 34816);
  }
  EXPECT_EQ(LinearTasks::equal(kOps[0], 1 << 30, 2).n_tasks(), 8);  // four a thread
}

// 192 panels of 18 KB, 96 of them for each of two threads: 1.69 MB, 13 times the least.
TEST(LinearTasks, ATaskIsHalfOfWhatIsLeftOfTheShare) {
  const LinearTasks tasks = LinearTasks::halving(kOps[0], kTaskBytes, 2);
  ASSERT_EQ(tasks.n_tasks(), 8);
  EXPECT_EQ(parts_of(tasks, 0), (std::vector<Part>{{0, 0, 48}}));
  EXPECT_EQ(parts_of(tasks, 1), (std::vector<Part>{{0, 48, 24}}));
  EXPECT_EQ(parts_of(tasks, 2), (std::vector<Part>{{0, 72, 12}}));
  EXPECT_EQ(parts_of(tasks, 3), (std::vector<Part>{{0, 84, 12}}));
  EXPECT_EQ(parts_of(tasks, 4), (std::vector<Part>{{0, 96, 32}, {1, 0, 16}}));
  EXPECT_EQ(parts_of(tasks, 5), (std::vector<Part>{{1, 16, 16}, {2, 0, 8}}));
  EXPECT_EQ(parts_of(tasks, 6), (std::vector<Part>{{2, 8, 12}}));
  EXPECT_EQ(parts_of(tasks, 7), (std::vector<Part>{{2, 20, 12}}));
}

}  // namespace
}  // namespace cria

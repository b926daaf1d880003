#include "targets/memory_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/aligned_buffer.h"

namespace cria {
namespace {

std::vector<BufferLife> random_lives(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<BufferLife> lives(random() % 40);
  for (BufferLife& life : lives) {
    life.size_bytes = 1 + random() % 5000;
    life.first = random() % 50;
    life.last = life.first + random() % 10;
  }
  return lives;
}

// The largest sum of buffers alive at one op: no plan can be smaller.
std::uint64_t lower_bound(const std::vector<BufferLife>& lives) {
  std::uint64_t most = 0;
  for (std::size_t op = 0; op < 60; ++op) {
    std::uint64_t sum = 0;
    for (const BufferLife& life : lives) {
      if (life.first <= op && op <= life.last) sum += life.size_bytes;
    }
    most = std::max(most, sum);
  }
  return most;
}

TEST(MemoryPlanner, LiveBuffersNeverOverlap) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    const std::vector<BufferLife> lives = random_lives(seed);
    const MemoryPlan plan = plan_memory(lives);
    std::uint64_t sum = 0;
    for (std::size_t a = 0; a < lives.size(); ++a) {
      sum += align_up(lives[a].size_bytes, kVectorAlignment);
      EXPECT_EQ(plan.offsets[a] % kVectorAlignment, 0u);
      EXPECT_LE(plan.offsets[a] + lives[a].size_bytes, plan.size_bytes);
      for (std::size_t b = 0; b < a; ++b) {
        if (lives[a].first > lives[b].last || lives[b].first > lives[a].last) continue;
        const bool apart = plan.offsets[a] + lives[a].size_bytes <= plan.offsets[b] ||
                           plan.offsets[b] + lives[b].size_bytes <= plan.offsets[a];
        EXPECT_TRUE(apart) << "seed " << seed << ": buffers " << a << " and " << b;
      }
    }
    EXPECT_GE(plan.size_bytes, lower_bound(lives));
    EXPECT_LE(plan.size_bytes, sum);
  }
}

TEST(MemoryPlanner, AChainNeedsTwoBuffers) {
  std::vector<BufferLife> chain;
  for (std::size_t i = 0; i < 20; ++i) chain.push_back({640, i, i + 1});
  EXPECT_EQ(plan_memory(chain).size_bytes, 1280u);
}

TEST(MemoryPlanner, NoBuffersNeedNothing) { EXPECT_EQ(plan_memory({}).size_bytes, 0u); }

}  // namespace
}  // namespace cria

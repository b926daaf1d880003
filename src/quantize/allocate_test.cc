#include "quantize/allocate.h"

#include <gtest/gtest.h>

#include <random>

namespace cria {
namespace {

using Choices = std::vector<std::vector<AllocationChoice>>;

// Every combination.
double best_by_trying_all(const Choices& matrices, std::uint64_t budget, std::size_t at = 0,
                          std::uint64_t size = 0, double cost = 0) {
  if (size > budget) return 1e300;
  if (at == matrices.size()) return cost;
  double best = 1e300;
  for (const AllocationChoice& choice : matrices[at]) {
    best = std::min(best, best_by_trying_all(matrices, budget, at + 1, size + choice.size_bytes,
                                             cost + choice.cost));
  }
  return best;
}

TEST(Allocate, IsAsGoodAsTryingAll) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    Choices matrices(1 + random() % 6);
    std::uint64_t least = 0;
    for (auto& choices : matrices) {
      choices.resize(1 + random() % 4);
      std::uint64_t smallest = UINT64_MAX;
      for (auto& choice : choices) {
        choice = {64 * (1 + random() % 40), static_cast<double>(random() % 1000)};
        smallest = std::min(smallest, choice.size_bytes);
      }
      least += smallest;
    }
    const std::uint64_t budget = least + random() % 4000;
    const Result<Allocation> found = allocate_bytes(matrices, budget);
    ASSERT_TRUE(found.ok()) << found.status().message();
    EXPECT_EQ(found->cost, best_by_trying_all(matrices, budget)) << "round " << round;
    EXPECT_LE(found->size_bytes, budget);
    std::uint64_t size = 0;
    for (std::size_t i = 0; i < matrices.size(); ++i)
      size += matrices[i][found->choice[i]].size_bytes;
    EXPECT_EQ(size, found->size_bytes);
  }
}

TEST(Allocate, SaysHowMuchIsNeeded) {
  const Choices matrices = {{{100, 1}, {200, 0}}, {{50, 2}}};
  EXPECT_TRUE(allocate_bytes(matrices, 150).ok());
  const Result<Allocation> found = allocate_bytes(matrices, 149);
  ASSERT_FALSE(found.ok());
  EXPECT_NE(found.status().message().find("need 150"), std::string::npos);
}

// The 3B shape: 28 layers of seven matrices, eight encodings each.
TEST(Allocate, LargeModels) {
  Choices matrices;
  std::mt19937 random(3);
  for (int i = 0; i < 28 * 7; ++i) {
    const std::uint64_t weights = 1024 * 3072 * (1 + i % 7);
    std::vector<AllocationChoice> choices;
    for (const int sixteenths : {36, 50, 57, 69, 74, 90, 105, 136}) {
      choices.push_back(
          {weights * sixteenths / 128, (1.0 + random() % 100) / (1 << sixteenths / 8)});
    }
    matrices.push_back(choices);
  }
  const Result<Allocation> found = allocate_bytes(matrices, 1'400'000'000);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_LE(found->size_bytes, 1'400'000'000u);
}

}  // namespace
}  // namespace cria

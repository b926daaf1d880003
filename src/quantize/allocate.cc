#include "quantize/allocate.h"

#include <algorithm>

namespace cria {
namespace {

constexpr std::size_t kMostStates = std::size_t{1} << 24;

// A sum that no other beats: how it was reached is a chain through the stages.
struct State {
  std::uint64_t size_bytes;
  double cost;
  std::uint32_t before;  // index in the stage before
  std::uint32_t choice;
};

using Stage = std::vector<State>;

// All sums of a state and a choice that fit, the beaten ones left out; by size, cost falling.
Stage next_stage(const Stage& stage, const std::vector<AllocationChoice>& choices,
                 std::uint64_t limit_bytes) {
  Stage sums;
  for (std::uint32_t c = 0; c < choices.size(); ++c) {
    for (std::uint32_t s = 0; s < stage.size(); ++s) {
      const std::uint64_t size = stage[s].size_bytes + choices[c].size_bytes;
      if (size > limit_bytes) break;
      sums.push_back({size, stage[s].cost + choices[c].cost, s, c});
    }
  }
  std::sort(sums.begin(), sums.end(), [](const State& a, const State& b) {
    return a.size_bytes != b.size_bytes ? a.size_bytes < b.size_bytes : a.cost < b.cost;
  });
  Stage best;
  for (const State& sum : sums) {
    if (best.empty() || sum.cost < best.back().cost) best.push_back(sum);
  }
  return best;
}

Allocation trace_back(const std::vector<Stage>& stages) {
  Allocation allocation;
  allocation.size_bytes = stages.back().back().size_bytes;
  allocation.cost = stages.back().back().cost;
  allocation.choice.resize(stages.size() - 1);
  std::uint32_t at = static_cast<std::uint32_t>(stages.back().size() - 1);
  for (std::size_t i = stages.size() - 1; i > 0; --i) {
    const State& state = stages[i][at];
    allocation.choice[i - 1] = state.choice;
    at = state.before;
  }
  return allocation;
}

}  // namespace

Result<Allocation> allocate_bytes(std::span<const std::vector<AllocationChoice>> matrices,
                                  std::uint64_t budget_bytes) {
  // What the matrices that come later need at least.
  std::uint64_t least = 0;
  for (const auto& choices : matrices) {
    least += std::min_element(choices.begin(), choices.end(), [](const auto& a, const auto& b) {
               return a.size_bytes < b.size_bytes;
             })->size_bytes;
  }
  if (least > budget_bytes) {
    return invalid_argument("{} bytes are not enough, the smallest choices need {}", budget_bytes,
                            least);
  }
  std::vector<Stage> stages = {{{0, 0.0, 0, 0}}};
  std::uint64_t later = least;
  for (const auto& choices : matrices) {
    std::uint64_t smallest = choices[0].size_bytes;
    for (const AllocationChoice& choice : choices) smallest = std::min(smallest, choice.size_bytes);
    later -= smallest;
    stages.push_back(next_stage(stages.back(), choices, budget_bytes - later));
    if (stages.back().size() > kMostStates) {
      return out_of_resources("the sizes of the choices add up to over {} different sums",
                              kMostStates);
    }
  }
  return trace_back(stages);
}

}  // namespace cria

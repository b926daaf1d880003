// Which run of a command is certainly done before another starts: by the order of an engine, by
// dependencies, and by what follows from both. A clock for each run says how many runs of every
// engine are done before it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "format/npu_commands/npu_commands.h"

namespace cria {

class NpuOrder {
 public:
  using Clock = std::array<std::uint32_t, kNpuEngines>;

  // Adds a run; returns its index. `after`: indices of runs added before.
  template <typename Indices>
  std::uint32_t add(NpuEngine engine, const Indices& after) {
    const auto e = static_cast<std::size_t>(engine);
    Clock clock = last_[e];
    clock[e] = count_[e];
    for (const std::uint32_t index : after) join(clock, index);
    runs_.push_back({clock, count_[e]++, engine});
    last_[e] = clock;
    return static_cast<std::uint32_t>(runs_.size() - 1);
  }

  // Whether run `a` is done before run `b` starts.
  bool before(std::uint32_t a, std::uint32_t b) const {
    return runs_[b].clock[static_cast<std::size_t>(runs_[a].engine)] > runs_[a].number;
  }
  // Whether `a` would be done before a run that is not added yet.
  bool before(std::uint32_t a, const Clock& clock) const {
    return clock[static_cast<std::size_t>(runs_[a].engine)] > runs_[a].number;
  }
  // The clock of the next run of an engine if it waited for nothing else.
  Clock next(NpuEngine engine) const {
    const auto e = static_cast<std::size_t>(engine);
    Clock clock = last_[e];
    clock[e] = count_[e];
    return clock;
  }
  void join(Clock& clock, std::uint32_t index) const {
    const Run& run = runs_[index];
    for (std::size_t e = 0; e < clock.size(); ++e) clock[e] = std::max(clock[e], run.clock[e]);
    auto& own = clock[static_cast<std::size_t>(run.engine)];
    own = std::max(own, run.number + 1);
  }
  const Clock& clock(std::uint32_t index) const { return runs_[index].clock; }
  const Clock& counts() const { return count_; }
  NpuEngine engine(std::uint32_t index) const { return runs_[index].engine; }

 private:
  struct Run {
    Clock clock;
    std::uint32_t number;  // among those of its engine
    NpuEngine engine;
  };
  std::vector<Run> runs_;
  std::array<Clock, kNpuEngines> last_{};
  Clock count_{};
};

}  // namespace cria

#include "format/npu_commands/npu_schedule.h"

#include <algorithm>

namespace cria {
namespace {

constexpr std::int64_t kPositionsPerIteration = kNpuCacheTile * kNpuTilesPerIteration;

// Unrolls command after command, remembering where the last run of each is.
class Unroller {
 public:
  explicit Unroller(const NpuCommands& commands)
      : commands_(commands), last_(commands.commands.size()) {}

  void run(std::uint32_t command, std::uint32_t iteration, std::uint32_t first_of_loop) {
    NpuRun run{command, iteration, static_cast<std::uint32_t>(schedule_.after.size()), 0};
    for (const std::uint32_t wanted : commands_.commands[command].after) {
      // Of its own or a later command of the loop: the run of the iteration before.
      if (wanted >= command && iteration == 0) continue;
      if (wanted >= command && wanted < first_of_loop) continue;
      schedule_.after.push_back(last_[wanted]);
      ++run.n_after;
    }
    last_[command] = static_cast<std::uint32_t>(schedule_.runs.size());
    schedule_.runs.push_back(run);
  }
  NpuSchedule take() { return std::move(schedule_); }

 private:
  const NpuCommands& commands_;
  std::vector<std::uint32_t> last_;
  NpuSchedule schedule_;
};

}  // namespace

std::int64_t npu_loop_iterations(const NpuLoop& loop, std::int64_t n_tokens,
                                 std::int64_t position) {
  const std::int64_t seen = position + std::min<std::int64_t>(loop.end_row, n_tokens);
  return (seen + kPositionsPerIteration - 1) / kPositionsPerIteration;
}

NpuTile npu_tile(const NpuCommand& command, std::uint32_t iteration, std::int64_t n_tokens,
                 std::int64_t position) {
  NpuTile tile;
  tile.first = iteration * kPositionsPerIteration + command.tile * kNpuCacheTile;
  const std::int64_t seen =
      position + std::min<std::int64_t>(std::int64_t{command.first_row} + command.n_rows, n_tokens);
  tile.n = std::clamp<std::int64_t>(seen - tile.first, 0, kNpuCacheTile);
  return tile;
}

std::int64_t npu_rows(const NpuCommand& command, std::int64_t n_tokens) {
  if (command.one_row) return 1;
  return std::clamp<std::int64_t>(n_tokens - command.first_row, 0, command.n_rows);
}

NpuSchedule npu_schedule(const NpuCommands& commands, std::span<const std::int64_t> iterations) {
  Unroller unroller(commands);
  std::size_t loop = 0;
  const auto n = static_cast<std::uint32_t>(commands.commands.size());
  for (std::uint32_t i = 0; i < n;) {
    if (loop == commands.loops.size() || i < commands.loops[loop].first) {
      unroller.run(i++, 0, 0);
      continue;
    }
    const NpuLoop& body = commands.loops[loop];
    for (std::int64_t iteration = 0; iteration < iterations[loop]; ++iteration) {
      for (std::uint32_t k = 0; k < body.n; ++k) {
        unroller.run(body.first + k, static_cast<std::uint32_t>(iteration), body.first);
      }
    }
    i = body.first + body.n;
    ++loop;
  }
  return unroller.take();
}

NpuSchedule npu_schedule(const NpuCommands& commands, std::int64_t n_tokens,
                         std::int64_t position) {
  std::vector<std::int64_t> iterations;
  for (const NpuLoop& loop : commands.loops)
    iterations.push_back(npu_loop_iterations(loop, n_tokens, position));
  return npu_schedule(commands, iterations);
}

}  // namespace cria

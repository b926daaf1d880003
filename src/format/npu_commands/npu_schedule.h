// The runs of commands that a call makes: loops unrolled, dependencies resolved.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/npu_commands/npu_commands.h"

namespace cria {

struct NpuRun {
  std::uint32_t command = 0;
  std::uint32_t iteration = 0;    // of its loop
  std::uint32_t first_after = 0;  // into NpuSchedule::after
  std::uint32_t n_after = 0;
};

struct NpuSchedule {
  std::vector<NpuRun> runs;          // in the order of the list: every engine's own order
  std::vector<std::uint32_t> after;  // indices of earlier runs

  std::span<const std::uint32_t> after_of(const NpuRun& run) const {
    return std::span(after).subspan(run.first_after, run.n_after);
  }
};

// Iterations of a loop in a call of `n_tokens` from `position` on.
std::int64_t npu_loop_iterations(const NpuLoop& loop, std::int64_t n_tokens, std::int64_t position);

// Positions of its tile that a cache command of a loop sees: [first, first + n), n 0 to
// kNpuCacheTile.
struct NpuTile {
  std::int64_t first = 0;
  std::int64_t n = 0;
};
NpuTile npu_tile(const NpuCommand& command, std::uint32_t iteration, std::int64_t n_tokens,
                 std::int64_t position);

// Rows that a command works on in a call of n_tokens: 0 to n_rows.
std::int64_t npu_rows(const NpuCommand& command, std::int64_t n_tokens);

// `iterations`: of each loop. REQUIRES: loops and dependencies as verify_npu_commands() wants them.
NpuSchedule npu_schedule(const NpuCommands& commands, std::span<const std::int64_t> iterations);
NpuSchedule npu_schedule(const NpuCommands& commands, std::int64_t n_tokens, std::int64_t position);

}  // namespace cria

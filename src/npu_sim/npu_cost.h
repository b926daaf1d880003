// What one run of a command costs by itself: the closed forms behind the simulation.
#pragma once

#include <optional>

#include "format/npu_commands/npu_schedule.h"
#include "npu_sim/npu_sim.h"

namespace cria {

struct NpuCost {
  Picoseconds fixed_ps = 0;  // that nothing slows: latency of a transfer, start of a command
  Picoseconds work_ps = 0;   // at full speed, that sharing stretches
  NpuBytes bytes;
  std::uint64_t macs = 0;
  std::uint64_t padded_macs = 0;
  std::optional<MatrixMode> mode;  // of products
};

// A run of a call: rows, and the tile of the cache that it sees.
struct NpuRunShape {
  std::int64_t n_rows = 0;
  std::int64_t n_positions = 0;
};
NpuRunShape npu_run_shape(const NpuCommand& command, std::uint32_t iteration, const NpuCall& call);

// The costs of commands on a device in one clock state. Thread-safety: const methods are safe from
// any thread.
class NpuCosts {
 public:
  NpuCosts(const NpuCommands& commands, const NpuProfile& profile, std::uint32_t clock_state)
      : all_(commands),
        profile_(profile),
        state_(profile.state(clock_state)),
        clock_state_(clock_state) {}

  // No rows or no positions: nothing, for nothing. kUnsupported: the matrix engine has no mode for
  // the product.
  Result<NpuCost> of(const NpuCommand& command, const NpuRunShape& shape) const;

 private:
  Picoseconds dma_ps(double bytes, double piece_bytes) const;
  Picoseconds vector_ps(double cycles) const;
  NpuCost dma(const NpuCommand& command, const NpuRunShape& shape) const;
  Result<NpuCost> product(const NpuCommand& command, const NpuRunShape& shape) const;
  NpuCost vector(const NpuCommand& command, const NpuRunShape& shape) const;

  const NpuCommands& all_;
  const NpuProfile& profile_;
  const ClockState& state_;
  std::uint32_t clock_state_;
};

// The mode in which a matrix engine multiplies a weight with int8 or float activations: the
// narrowest that it has and that holds both; a device without integer modes multiplies in its float
// modes. nullopt: it has none.
std::optional<MatrixMode> npu_matrix_mode(const NpuProfile& profile, Encoding encoding,
                                          bool float_input);

}  // namespace cria

// Collects the commands of a method, then gives its buffers places in SRAM and its commands an
// order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/npu_commands/npu_commands.h"

namespace cria {

// What order_commands() adds: for every command the ones that it must wait for, from what it reads
// and writes. Takes commands whose buffers have places, and whose `after` is empty but for changes
// of the context.
void order_commands(NpuCommands& commands);

class Emitter {
 public:
  // `ring_bytes` of SRAM hold weights on their way; everything else lies behind them.
  Emitter(std::uint64_t ring_bytes, std::uint32_t align_bytes);

  NpuCommands& commands() { return out_; }

  // The op that the commands to come work for.
  void begin_op(NpuOp op);

  // A range of SRAM that lives from the first to the last command that names it, and through loops
  // whole.
  std::uint32_t buffer(std::string name, std::uint64_t size_bytes);
  NpuCommand& emit(NpuCommandKind kind, NpuEngine engine);

  // Emits the transfer of bytes of a weight into the ring; where they will be.
  NpuOperand load_weight(std::uint32_t weight, std::uint64_t offset, std::uint64_t size_bytes);
  NpuOperand load_strip(std::uint32_t weight, std::uint32_t row, std::uint64_t size_bytes);
  std::uint64_t ring_bytes() const { return ring_bytes_; }

  void begin_loop(std::uint32_t end_row);
  void end_loop();
  void switch_context();

  // Places and orders. `sram_bytes`: what the device has. kOutOfResources: more is needed
  // (needed_bytes()). kInternal: the verifier refuses the result.
  Result<NpuCommands> finish(std::uint64_t sram_bytes);
  std::uint64_t needed_bytes() const { return needed_bytes_; }
  // The buffers alive where most SRAM is needed; after finish().
  const std::vector<std::uint32_t>& crowded() const { return crowded_; }

 private:
  NpuOperand ring_place(std::uint64_t size_bytes);
  void find_lives();
  void place();
  void find_crowd();

  NpuCommands out_;
  std::uint64_t ring_bytes_;
  std::uint64_t ring_at_ = 0;
  std::uint32_t loop_first_ = kNpuNone;
  std::uint64_t needed_bytes_ = 0;
  std::vector<std::uint32_t> crowded_;
};

}  // namespace cria

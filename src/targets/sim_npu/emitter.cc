#include "targets/sim_npu/emitter.h"

#include <algorithm>

#include "base/aligned_buffer.h"
#include "format/npu_commands/npu_verify.h"
#include "targets/memory_planner.h"

namespace cria {

Emitter::Emitter(std::uint64_t ring_bytes, std::uint32_t align_bytes) : ring_bytes_(ring_bytes) {
  out_.align_bytes = align_bytes;
  out_.contexts = {{}};
  if (ring_bytes > 0) out_.buffers.push_back({"weights", 0, ring_bytes, 0, 0});
}

void Emitter::begin_op(NpuOp op) { out_.ops.push_back(std::move(op)); }

std::uint32_t Emitter::buffer(std::string name, std::uint64_t size_bytes) {
  out_.buffers.push_back({std::move(name), 0, align_up(size_bytes, out_.align_bytes), kNpuNone, 0});
  return static_cast<std::uint32_t>(out_.buffers.size() - 1);
}

NpuCommand& Emitter::emit(NpuCommandKind kind, NpuEngine engine) {
  NpuCommand command;
  command.kind = kind;
  command.engine = engine;
  command.op = static_cast<std::uint32_t>(out_.ops.size() - 1);
  out_.commands.push_back(std::move(command));
  return out_.commands.back();
}

// One piece after the other, from the start again where the end is too near. Who must be done with
// the bytes before is found by order_commands().
NpuOperand Emitter::ring_place(std::uint64_t size_bytes) {
  const std::uint64_t size = align_up(size_bytes, out_.align_bytes);
  if (ring_at_ + size > ring_bytes_) ring_at_ = 0;
  const NpuOperand place{0, ring_at_, 0};
  ring_at_ += size;
  return place;
}

NpuOperand Emitter::load_weight(std::uint32_t weight, std::uint64_t offset,
                                std::uint64_t size_bytes) {
  NpuCommand& load = emit(NpuCommandKind::kLoadWeight, NpuEngine::kWeightDma);
  load.weight = weight;
  load.dram_offset = offset;
  load.n_bytes = size_bytes;
  load.out = ring_place(size_bytes);
  return load.out;
}

NpuOperand Emitter::load_strip(std::uint32_t weight, std::uint32_t row, std::uint64_t size_bytes) {
  NpuCommand& load = emit(NpuCommandKind::kLoadStrip, NpuEngine::kWeightDma);
  load.weight = weight;
  load.first_row = row;
  load.out = ring_place(size_bytes);
  return load.out;
}

void Emitter::begin_loop(std::uint32_t end_row) {
  loop_first_ = static_cast<std::uint32_t>(out_.commands.size());
  out_.loops.push_back({loop_first_, 0, end_row});
}

void Emitter::end_loop() {
  out_.loops.back().n = static_cast<std::uint32_t>(out_.commands.size()) - loop_first_;
}

void Emitter::switch_context() {
  out_.contexts.push_back({});
  NpuCommand& command = emit(NpuCommandKind::kSwitchContext, NpuEngine::kControl);
  command.first_panel = static_cast<std::uint32_t>(out_.contexts.size() - 1);
}

void Emitter::find_lives() {
  std::size_t loop = 0;
  for (std::uint32_t i = 0; i < out_.commands.size(); ++i) {
    while (loop < out_.loops.size() && i >= out_.loops[loop].first + out_.loops[loop].n) ++loop;
    std::uint32_t first = i, last = i;
    if (loop < out_.loops.size() && i >= out_.loops[loop].first) {
      first = out_.loops[loop].first;
      last = first + out_.loops[loop].n - 1;
    }
    const NpuCommand& c = out_.commands[i];
    for (const NpuOperand* operand : {&c.x, &c.y, &c.z, &c.out}) {
      if (operand->buffer == kNpuNone) continue;
      NpuBuffer& b = out_.buffers[operand->buffer];
      b.first = std::min(b.first, first);
      b.last = std::max(b.last, last);
    }
  }
}

// REQUIRES: every buffer is named by a command.
void Emitter::place() {
  const std::size_t first = ring_bytes_ > 0 ? 1 : 0;
  std::vector<BufferLife> lives;
  for (std::size_t i = first; i < out_.buffers.size(); ++i) {
    const NpuBuffer& b = out_.buffers[i];
    lives.push_back({b.size_bytes, b.first, b.last});
  }
  const MemoryPlan plan = plan_memory(lives);
  for (std::size_t i = first; i < out_.buffers.size(); ++i) {
    out_.buffers[i].offset_bytes = ring_bytes_ + plan.offsets[i - first];
  }
  needed_bytes_ = ring_bytes_ + align_up(plan.size_bytes, out_.align_bytes);
}

void Emitter::find_crowd() {
  std::uint64_t most = 0;
  std::uint32_t at = 0;
  for (const NpuBuffer& from : out_.buffers) {
    std::uint64_t bytes = 0;
    for (const NpuBuffer& b : out_.buffers) {
      if (b.first <= from.first && from.first <= b.last) bytes += b.size_bytes;
    }
    if (bytes <= most) continue;
    most = bytes;
    at = from.first;
  }
  crowded_.clear();
  for (std::uint32_t i = 0; i < out_.buffers.size(); ++i) {
    if (out_.buffers[i].first <= at && at <= out_.buffers[i].last) crowded_.push_back(i);
  }
}

Result<NpuCommands> Emitter::finish(std::uint64_t sram_bytes) {
  find_lives();
  place();
  if (needed_bytes_ > sram_bytes) {
    find_crowd();
    return out_of_resources("needs {} bytes of SRAM, the device has {}", needed_bytes_, sram_bytes);
  }
  out_.sram_bytes = needed_bytes_;
  order_commands(out_);
  if (const Status status = verify_npu_commands(out_); !status.ok()) {
    return internal_error("the commands are malformed: {}", status.message());
  }
  return std::move(out_);
}

}  // namespace cria

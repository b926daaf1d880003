// All commands as they run. Engines go their own way between dependencies, so "before" in the list
// is not enough: a command may read only what is certainly written, and overwrite only what is
// certainly read.
#include <set>

#include "format/npu_commands/npu_access.h"
#include "format/npu_commands/npu_memory_map.h"
#include "format/npu_commands/npu_order.h"
#include "format/npu_commands/npu_schedule.h"
#include "format/npu_commands/npu_verify.h"

namespace cria {
namespace {

// How often loops run for the proof: the third iteration waits for the second as every later one
// for the one before it; but what a single one leaves undone, others must not be relied on for.
constexpr std::int64_t kIterations[] = {1, 3};

class HazardVerifier {
 public:
  HazardVerifier(const NpuCommands& all, std::int64_t iterations)
      : all_(all),
        schedule_(npu_schedule(all, std::vector<std::int64_t>(all.loops.size(), iterations))),
        cache_(2 * static_cast<std::size_t>(all.cache.n_layers)) {}

  Status run() {
    for (const NpuImport& import : all_.imports) {
      scratch_.write(import.offset_bytes, import.offset_bytes + import.size_bytes, kNpuNone,
                     kNpuNone);
    }
    for (std::uint32_t i = 0; i < schedule_.runs.size(); ++i) {
      const NpuRun& run = schedule_.runs[i];
      Status status = verify(all_.commands[run.command], schedule_.after_of(run));
      if (status.ok()) continue;
      return std::move(status).with_context(fmt::format(
          "command {} ({})", run.command, npu_command_name(all_.commands[run.command].kind)));
    }
    return end_context();
  }

 private:
  Status verify(const NpuCommand& command, std::span<const std::uint32_t> after) {
    const std::uint32_t run = order_.add(command.engine, after);
    CRIA_RETURN_IF_ERROR(follow_context(run, command));
    for (const NpuAccess& access : npu_accesses(all_, command)) {
      Status status = access.memory == NpuMemory::kCache ? follow_cache(run, command, access)
                                                         : follow(run, command, access);
      if (!status.ok()) return status;
    }
    return {};
  }

  Status follow(std::uint32_t run, const NpuCommand& command, const NpuAccess& access) {
    NpuMemoryMap& memory = access.memory == NpuMemory::kSram      ? sram_
                           : access.memory == NpuMemory::kScratch ? scratch_
                                                                  : result_;
    const bool one_piece = access.n_rows <= 1 || access.stride == access.row_bytes;
    const std::uint64_t n = one_piece ? 1 : access.n_rows;
    const std::uint64_t bytes = one_piece ? access.bytes() : access.row_bytes;
    for (std::uint64_t row = 0; row < n; ++row) {
      const std::uint64_t start = access.offset + row * access.stride;
      CRIA_RETURN_IF_ERROR(access.write ? write(memory, run, access, start, start + bytes)
                                        : read(memory, run, command, access, start, start + bytes));
    }
    return {};
  }

  Status read(NpuMemoryMap& memory, std::uint32_t run, const NpuCommand& command,
              const NpuAccess& access, std::uint64_t start, std::uint64_t end) {
    Status status;
    const std::uint64_t bytes =
        memory.visit(start, end, [&](std::uint64_t at, NpuMemoryMap::Range& range) {
          if (status.ok()) status = read_range(run, command, access, at, range);
          range.readers[static_cast<std::size_t>(command.engine)] = run;
        });
    if (status.ok() && bytes != end - start) {
      return bad_input("reads [{}, {}) of {}, of which only {} bytes were written", start, end,
                       place(access), bytes);
    }
    return status;
  }

  Status read_range(std::uint32_t run, const NpuCommand& command, const NpuAccess& access,
                    std::uint64_t at, const NpuMemoryMap::Range& range) const {
    if (range.writer == kNpuNone) return {};  // imported
    if (!order_.before(range.writer, run)) {
      return bad_input("reads {} at {} without waiting for command {}, which writes it",
                       place(access), at, command_of(range.writer));
    }
    if (range.buffer != access.buffer) {
      return bad_input("reads {} at {}, which command {} has overwritten for '{}'", place(access),
                       at, command_of(range.writer), all_.buffers[range.buffer].name);
    }
    return access.memory == NpuMemory::kSram ? content(command, access, at, range) : Status();
  }

  // What must have been loaded, and not only be something that lies in the right place.
  Status content(const NpuCommand& command, const NpuAccess& access, std::uint64_t at,
                 const NpuMemoryMap::Range& range) const {
    const NpuCommand& writer = all_.commands[command_of(range.writer)];
    const auto reads = [&](const NpuOperand& operand) {
      return operand.buffer == access.buffer &&
             all_.buffers[operand.buffer].offset_bytes + operand.offset == access.offset;
    };
    if (command.kind == NpuCommandKind::kMatmul && reads(command.z)) {
      const std::uint64_t panel =
          panel_layout(all_.weights[command.weight].encoding, command.n_cols).size_bytes;
      const std::uint64_t wanted = command.first_panel * panel + (at - access.offset);
      const std::uint64_t written =
          all_.buffers[writer.out.buffer].offset_bytes + writer.out.offset;
      if (writer.kind == NpuCommandKind::kLoadWeight && writer.weight == command.weight &&
          writer.dram_offset + (at - written) == wanted) {
        return {};
      }
      return bad_input(
          "multiplies with byte {} of weight '{}', which command {} did not load there", wanted,
          all_.weights[command.weight].key, command_of(range.writer));
    }
    if (command.kind == NpuCommandKind::kEmbedRow) {
      if (writer.kind == NpuCommandKind::kLoadStrip && writer.weight == command.weight &&
          writer.first_row == command.first_row) {
        return {};
      }
      return bad_input("takes a row of weight '{}' from what command {} wrote",
                       all_.weights[command.weight].key, command_of(range.writer));
    }
    return {};
  }

  Status write(NpuMemoryMap& memory, std::uint32_t run, const NpuAccess& access,
               std::uint64_t start, std::uint64_t end) {
    Status status;
    memory.visit(start, end, [&](std::uint64_t at, const NpuMemoryMap::Range& range) {
      if (status.ok()) status = overwrite(run, access, at, range);
    });
    CRIA_RETURN_IF_ERROR(status);
    memory.write(start, end, run, access.buffer);
    return {};
  }

  Status overwrite(std::uint32_t run, const NpuAccess& access, std::uint64_t at,
                   const NpuMemoryMap::Range& range) const {
    if (range.writer != kNpuNone && !order_.before(range.writer, run)) {
      return bad_input("writes {} at {} without waiting for command {}, which writes it too",
                       place(access), at, command_of(range.writer));
    }
    for (const std::uint32_t reader : range.readers) {
      if (reader == kNpuNone || reader == run || order_.before(reader, run)) continue;
      return bad_input("overwrites {} at {} without waiting for command {}, which reads it",
                       place(access), at, command_of(reader));
    }
    return {};
  }

  // Keys (or values) of a layer are one thing.
  Status follow_cache(std::uint32_t run, const NpuCommand& command, const NpuAccess& access) {
    NpuMemoryMap::Range& range = cache_[access.offset];
    if (access.write) {
      CRIA_RETURN_IF_ERROR(overwrite(run, access, access.offset, range));
      range.writer = run;
      return {};
    }
    if (range.writer != kNpuNone && !order_.before(range.writer, run)) {
      return bad_input("reads {} of layer {} without waiting for command {}, which writes it",
                       place(access), access.offset / 2, command_of(range.writer));
    }
    range.readers[static_cast<std::size_t>(command.engine)] = run;
    return {};
  }

  // A switch stands alone: all before it is done, nothing behind it has begun.
  Status follow_context(std::uint32_t run, const NpuCommand& command) {
    if (command.kind == NpuCommandKind::kSwitchContext) {
      NpuOrder::Clock counts = order_.counts();
      --counts[static_cast<std::size_t>(NpuEngine::kControl)];
      if (order_.clock(run) != counts) return bad_input("does not wait for all commands before it");
      CRIA_RETURN_IF_ERROR(end_context());
      ++context_;
      if (command.first_panel != context_ || context_ >= all_.contexts.size()) {
        return bad_input("changes to context {}, expected {} of {}", command.first_panel, context_,
                         all_.contexts.size());
      }
      switch_ = run;
      used_.clear();
      return {};
    }
    if (switch_ != kNpuNone && !order_.before(switch_, run)) {
      return bad_input("does not wait for the change of context before it");
    }
    if (command.weight != kNpuNone && command.weight < all_.weights.size())
      used_.insert(command.weight);
    return {};
  }

  Status end_context() const {
    std::uint64_t bytes = 0;
    for (const std::uint32_t weight : used_) bytes += npu_weight_bytes(all_.weights[weight]);
    if (bytes == all_.contexts[context_].mapped_bytes) return {};
    return bad_input("context {} uses {} bytes of weights and maps {}", context_, bytes,
                     all_.contexts[context_].mapped_bytes);
  }

  std::uint32_t command_of(std::uint32_t run) const { return schedule_.runs[run].command; }
  std::string place(const NpuAccess& access) const {
    switch (access.memory) {
      case NpuMemory::kSram:
        return fmt::format("buffer '{}'", all_.buffers[access.buffer].name);
      case NpuMemory::kScratch:
        return "scratch";
      case NpuMemory::kCache:
        return "the cache";
      default:
        return "the result";
    }
  }

  const NpuCommands& all_;
  const NpuSchedule schedule_;
  NpuOrder order_;
  NpuMemoryMap sram_, scratch_, result_;
  std::vector<NpuMemoryMap::Range> cache_;  // by layer, keys then values
  std::size_t context_ = 0;
  std::uint32_t switch_ = kNpuNone;
  std::set<std::uint32_t> used_;
};

}  // namespace

Status verify_npu_hazards(const NpuCommands& commands) {
  for (const std::int64_t iterations : kIterations) {
    if (commands.loops.empty() && iterations > 1) break;
    CRIA_RETURN_IF_ERROR(HazardVerifier(commands, iterations).run());
  }
  return {};
}

}  // namespace cria

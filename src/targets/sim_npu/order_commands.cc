// Which commands must wait for which: whoever wrote what they read, and whoever still uses what
// they overwrite.
#include <algorithm>
#include <array>
#include <functional>

#include "format/npu_commands/npu_access.h"
#include "format/npu_commands/npu_memory_map.h"
#include "format/npu_commands/npu_order.h"
#include "targets/sim_npu/emitter.h"

namespace cria {
namespace {

class Orderer {
 public:
  explicit Orderer(NpuCommands& all)
      : all_(all), cache_(2 * static_cast<std::size_t>(all.cache.n_layers)) {
    for (const NpuImport& import : all.imports) {
      scratch_.write(import.offset_bytes, import.offset_bytes + import.size_bytes, kNpuNone,
                     kNpuNone);
    }
  }

  void run() {
    std::size_t loop = 0;
    const auto n = static_cast<std::uint32_t>(all_.commands.size());
    for (std::uint32_t i = 0; i < n;) {
      if (loop == all_.loops.size() || i < all_.loops[loop].first) {
        add(i++);
        continue;
      }
      const NpuLoop body = all_.loops[loop++];
      run_loop(body);
      i = body.first + body.n;
    }
  }

 private:
  // Twice: what the second iteration waits for in the first, every later one waits for in the one
  // before it.
  void run_loop(const NpuLoop& body) {
    for (int iteration = 0; iteration < 2; ++iteration) {
      iteration_start_ = static_cast<std::uint32_t>(command_of_.size());
      for (std::uint32_t k = 0; k < body.n; ++k) add(body.first + k);
    }
    // A loop may run once only, and then nothing has waited for an iteration before. So that what
    // follows need not rely on it, every engine of the loop waits for the others'.
    std::array<std::uint32_t, kNpuEngines> last;
    last.fill(kNpuNone);
    for (std::uint32_t run = iteration_start_; run < command_of_.size(); ++run) {
      last[static_cast<std::size_t>(order_.engine(run))] = run;
    }
    for (std::size_t e = 0; e < last.size(); ++e) {
      if (last[e] == kNpuNone) continue;
      for (const std::uint32_t other : last) {
        if (other != kNpuNone) join_[e].push_back(other);
      }
    }
  }

  void add(std::uint32_t index) {
    NpuCommand& command = all_.commands[index];
    wanted_.clear();
    auto& join = join_[static_cast<std::size_t>(command.engine)];
    wanted_.swap(join);
    if (switch_ != kNpuNone) wanted_.push_back(switch_);
    if (command.kind == NpuCommandKind::kSwitchContext) want_all();
    const std::vector<NpuAccess> accesses = npu_accesses(all_, command);
    for (const NpuAccess& access : accesses) find(access);
    const std::vector<std::uint32_t> runs = prune(command.engine);
    for (const std::uint32_t run : runs) note(index, run);
    const std::uint32_t run = order_.add(command.engine, runs);
    command_of_.push_back(index);
    last_[static_cast<std::size_t>(command.engine)] = run;
    for (const NpuAccess& access : accesses) touch(access, run);
    if (command.kind == NpuCommandKind::kSwitchContext) switch_ = run;
  }

  void want_all() {
    for (const std::uint32_t run : last_) {
      if (run != kNpuNone) wanted_.push_back(run);
    }
  }

  // The latest first: most of the others are then known to be done.
  std::vector<std::uint32_t> prune(NpuEngine engine) {
    std::ranges::sort(wanted_, std::greater<>());
    NpuOrder::Clock clock = order_.next(engine);
    std::vector<std::uint32_t> runs;
    for (const std::uint32_t run : wanted_) {
      if (order_.before(run, clock)) continue;
      order_.join(clock, run);
      runs.push_back(run);
    }
    return runs;
  }

  // A run of the iteration before is named by an index from the command's own on; one before the
  // command in the list is waited for in the same iteration, which is later and so includes it.
  void note(std::uint32_t index, std::uint32_t run) {
    std::vector<std::uint32_t>& after = all_.commands[index].after;
    const std::uint32_t wanted = command_of_[run];
    if (std::ranges::find(after, wanted) == after.end()) after.push_back(wanted);
  }

  template <typename Visit>
  void for_each_piece(const NpuAccess& access, const Visit& visit) {
    NpuMemoryMap& memory = access.memory == NpuMemory::kSram      ? sram_
                           : access.memory == NpuMemory::kScratch ? scratch_
                                                                  : result_;
    const bool one_piece = access.n_rows <= 1 || access.stride == access.row_bytes;
    const std::uint64_t bytes = one_piece ? access.bytes() : access.row_bytes;
    for (std::uint64_t row = 0; row < (one_piece ? 1 : access.n_rows); ++row) {
      const std::uint64_t start = access.offset + row * access.stride;
      visit(memory, start, start + bytes);
    }
  }

  void want(const NpuMemoryMap::Range& range, bool write) {
    if (range.writer != kNpuNone) wanted_.push_back(range.writer);
    if (!write) return;
    for (const std::uint32_t reader : range.readers) {
      if (reader != kNpuNone) wanted_.push_back(reader);
    }
  }

  void find(const NpuAccess& access) {
    if (access.memory == NpuMemory::kCache) return want(cache_[access.offset], access.write);
    for_each_piece(access, [&](NpuMemoryMap& memory, std::uint64_t start, std::uint64_t end) {
      memory.visit(start, end, [&](std::uint64_t, const NpuMemoryMap::Range& range) {
        want(range, access.write);
      });
    });
  }

  void touch(const NpuAccess& access, std::uint32_t run) {
    const auto engine = static_cast<std::size_t>(order_.engine(run));
    if (access.memory == NpuMemory::kCache) {
      NpuMemoryMap::Range& range = cache_[access.offset];
      if (access.write) {
        range.writer = run;
      } else {
        range.readers[engine] = run;
      }
      return;
    }
    for_each_piece(access, [&](NpuMemoryMap& memory, std::uint64_t start, std::uint64_t end) {
      if (access.write) return memory.write(start, end, run, access.buffer);
      memory.visit(start, end,
                   [&](std::uint64_t, NpuMemoryMap::Range& range) { range.readers[engine] = run; });
    });
  }

  NpuCommands& all_;
  NpuOrder order_;
  NpuMemoryMap sram_, scratch_, result_;
  std::vector<NpuMemoryMap::Range> cache_;
  std::vector<std::uint32_t> command_of_;  // by run
  std::vector<std::uint32_t> wanted_;
  std::array<std::vector<std::uint32_t>, kNpuEngines> join_;  // for the next command of an engine
  std::array<std::uint32_t, kNpuEngines> last_{kNpuNone, kNpuNone, kNpuNone, kNpuNone, kNpuNone};
  std::uint32_t switch_ = kNpuNone;
  std::uint32_t iteration_start_ = 0;
};

}  // namespace

void order_commands(NpuCommands& commands) { Orderer(commands).run(); }

}  // namespace cria

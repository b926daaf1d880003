#include "api/method_parts.h"

#include <algorithm>

#include "delegates/cpu/cpu_delegate.h"
#include "delegates/sim_npu/sim_npu_delegate.h"
#include "format/npu_commands/npu_access.h"
#include "format/pte/pte_program.h"
#include "format/pte/pte_reader.h"
#include "runtime/program.h"

namespace cria {
namespace {

// Bytes of the scratch memory that all parts share, or halves of layers of the cache.
struct Range {
  std::uint64_t begin = 0, end = 0;
  bool cache = false, write = false;
  bool conflicts(const Range& other) const {
    return cache == other.cache && (write || other.write) && begin < other.end && other.begin < end;
  }
};

void add_scratch(const Plan& plan, std::uint32_t buffer, bool write, std::vector<Range>& ranges) {
  if (buffer == kNoBuffer) return;
  const PlanBuffer& b = plan.buffers[buffer];
  const std::int64_t n_rows = b.single_row ? 1 : plan.max_tokens;
  const auto bytes = static_cast<std::uint64_t>(b.width * n_rows) * sizeof(float);
  ranges.push_back({b.offset_bytes, b.offset_bytes + bytes, false, write});
}

std::vector<Range> ranges_of(const Plan& plan) {
  std::vector<Range> ranges;
  for (const PlanOp& op : plan.ops) {
    add_scratch(plan, op.x, false, ranges);
    add_scratch(plan, op.y, false, ranges);
    add_scratch(plan, op.out, true, ranges);
    const auto layer = static_cast<std::uint64_t>(op.layer);
    if (op.kind == PlanOpKind::kKvAppend) ranges.push_back({2 * layer, 2 * layer + 2, true, true});
    if (op.kind == PlanOpKind::kAttention)
      ranges.push_back({2 * layer, 2 * layer + 2, true, false});
    if (op.kind == PlanOpKind::kScores) ranges.push_back({2 * layer, 2 * layer + 1, true, false});
    if (op.kind == PlanOpKind::kMix) ranges.push_back({2 * layer + 1, 2 * layer + 2, true, false});
  }
  return ranges;
}

std::vector<Range> ranges_of(const NpuCommands& commands) {
  std::vector<Range> ranges;
  for (const NpuCommand& command : commands.commands) {
    for (const NpuAccess& access : npu_accesses(commands, command)) {
      if (access.memory == NpuMemory::kScratch)
        ranges.push_back({access.offset, access.end(), false, access.write});
      if (access.memory == NpuMemory::kCache)
        ranges.push_back({access.offset, access.offset + 1, true, access.write});
    }
  }
  return ranges;
}

bool conflict(const std::vector<Range>& a, const std::vector<Range>& b) {
  return std::ranges::any_of(a, [&](const Range& range) {
    return std::ranges::any_of(b, [&](const Range& other) { return range.conflicts(other); });
  });
}

void find_dependencies(std::vector<MethodPart>& parts) {
  std::vector<std::vector<Range>> ranges;
  std::vector<std::vector<bool>> reached;  // by part: the earlier ones that it comes after
  for (std::size_t i = 0; i < parts.size(); ++i) {
    ranges.push_back(parts[i].on_npu ? ranges_of(parts[i].commands) : ranges_of(parts[i].plan));
    std::vector<bool>& before = reached.emplace_back(i, false);
    for (std::size_t k = i; k-- > 0;) {
      if (before[k] || !conflict(ranges[i], ranges[k])) continue;
      parts[i].after.push_back(k);
      before[k] = true;
      for (std::size_t j = 0; j < k; ++j) before[j] = before[j] || reached[k][j];
    }
  }
}

}  // namespace

Result<MethodParts> read_method_parts(const Program& program, const std::string& method) {
  CRIA_ASSIGN_OR_RETURN(const pte::ExecutionPlan* execution, program.plan(method));
  MethodParts made;
  for (const pte::Chain& chain : execution->chains) {
    for (const pte::Instruction& instruction : chain.instructions) {
      const auto* call = std::get_if<pte::DelegateCall>(&instruction);
      if (call == nullptr) return unsupported("method {} does more than calling delegates", method);
      const pte::BackendDelegate& delegate =
          execution->delegates.at(static_cast<std::size_t>(call->delegate_index));
      const std::span<const std::byte> blob = program.pte().delegate_blob(delegate);
      MethodPart& part = made.parts.emplace_back();
      if (delegate.id == sim_npu_delegate()->name) {
        part.on_npu = true;
        CRIA_ASSIGN_OR_RETURN(part.commands, decode_npu_commands(blob, "method " + method));
        made.max_tokens = part.commands.max_tokens;
      } else if (delegate.id == cpu_delegate()->name) {
        CRIA_ASSIGN_OR_RETURN(part.plan, decode_plan(blob, "method " + method));
        made.max_tokens = part.plan.max_tokens;
      } else {
        return unsupported("method {} calls {}, expected {} or {}", method, delegate.id,
                           cpu_delegate()->name, sim_npu_delegate()->name);
      }
    }
  }
  find_dependencies(made.parts);
  return made;
}

}  // namespace cria

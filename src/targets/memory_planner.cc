#include "targets/memory_planner.h"

#include <algorithm>
#include <numeric>

#include "base/aligned_buffer.h"

namespace cria {
namespace {

bool alive_together(const BufferLife& a, const BufferLife& b) {
  return a.first <= b.last && b.first <= a.last;
}

}  // namespace

MemoryPlan plan_memory(std::span<const BufferLife> buffers) {
  std::vector<std::size_t> by_size(buffers.size());
  std::iota(by_size.begin(), by_size.end(), std::size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(), [&](std::size_t a, std::size_t b) {
    return buffers[a].size_bytes > buffers[b].size_bytes;
  });

  MemoryPlan plan;
  plan.offsets.assign(buffers.size(), 0);
  std::vector<std::size_t> placed;  // in the order of their offsets
  for (const std::size_t id : by_size) {
    std::uint64_t offset = 0;
    for (const std::size_t other : placed) {
      if (!alive_together(buffers[id], buffers[other])) continue;
      if (plan.offsets[other] >= offset + buffers[id].size_bytes) break;  // the gap before it fits
      const std::uint64_t end = plan.offsets[other] + buffers[other].size_bytes;
      offset = std::max(offset, align_up(end, kVectorAlignment));
    }
    plan.offsets[id] = offset;
    plan.size_bytes = std::max(plan.size_bytes, offset + buffers[id].size_bytes);
    const auto behind = std::find_if(placed.begin(), placed.end(), [&](std::size_t other) {
      return plan.offsets[other] > offset;
    });
    placed.insert(behind, id);
  }
  plan.size_bytes = align_up(plan.size_bytes, kVectorAlignment);
  return plan;
}

}  // namespace cria

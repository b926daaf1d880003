// Offsets for buffers that live for a part of a plan only, so that they can share memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cria {

// A buffer is alive from op `first` to op `last`, both included.
struct BufferLife {
  std::uint64_t size_bytes = 0;
  std::size_t first = 0;
  std::size_t last = 0;
};

struct MemoryPlan {
  std::vector<std::uint64_t> offsets;  // one a buffer, multiples of kVectorAlignment
  std::uint64_t size_bytes = 0;        // of the whole area
};

// Greedy by size: the largest buffer first, each at the lowest offset where it overlaps no buffer
// that is alive at the same time. Deterministic; not optimal, but for straight-line networks within
// a few percent of the largest sum of live buffers. REQUIRES: the sum of sizes does not overflow.
MemoryPlan plan_memory(std::span<const BufferLife> buffers);

}  // namespace cria

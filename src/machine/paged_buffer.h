// Memory on pages of a chosen size, to see what they cost.
#pragma once

#include <cstddef>
#include <span>

#include "base/aligned_buffer.h"
#include "base/result.h"

namespace cria {

enum class Pages { kSmall, kHuge };

// As reports call them.
inline const char* pages_name(Pages pages) { return pages == Pages::kHuge ? "huge" : "4K"; }

// Movable, freed on destruction. The pages are there once they are first written.
class PagedBuffer {
 public:
  // kOutOfResources: no memory. kUnsupported: kHuge, and the system gives none.
  static Result<PagedBuffer> allocate(std::size_t size_bytes, Pages pages);

  std::span<std::byte> bytes() { return bytes_; }

 private:
  AlignedBuffer memory_;
  std::span<std::byte> bytes_;  // of memory_
};

}  // namespace cria

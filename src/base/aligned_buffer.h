// Memory aligned for vector loads and for pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace cria {

inline constexpr std::size_t kVectorAlignment = 64;  // a cache line, the widest vector
inline constexpr std::size_t kPageAlignment = 4096;

// `a` rounded up to a multiple of `alignment` (a power of two). REQUIRES: no overflow.
constexpr std::uint64_t align_up(std::uint64_t a, std::uint64_t alignment) {
  return (a + alignment - 1) & ~(alignment - 1);
}

// An owned, zero-filled block of bytes, aligned to a page, freed on destruction. The zero pages
// come from the operating system, so that untouched parts cost no memory. Movable, not copyable.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Fails with kOutOfResources, saying how much was asked for.
  static Result<AlignedBuffer> allocate(std::size_t size_bytes);

  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  ~AlignedBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size_bytes() const { return size_bytes_; }
  std::span<std::byte> bytes() { return {data_, size_bytes_}; }

  // Overwrites every byte with zero in a way that the compiler may not remove.
  void wipe();

 private:
  std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace cria

#include "base/aligned_buffer.h"

#include <sys/mman.h>

#include <cstring>
#include <limits>
#include <utility>

namespace cria {

Result<AlignedBuffer> AlignedBuffer::allocate(std::size_t size_bytes) {
  AlignedBuffer buffer;
  if (size_bytes == 0) return buffer;
  if (size_bytes > std::numeric_limits<std::size_t>::max() / 2) {
    return out_of_resources("cannot allocate {} bytes", size_bytes);
  }
  void* address =
      mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return out_of_resources("cannot allocate {} bytes", size_bytes);
  buffer.data_ = static_cast<std::byte*>(address);
  buffer.size_bytes_ = size_bytes;
  return buffer;
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, size_bytes_);
}

void AlignedBuffer::wipe() {
  if (data_ == nullptr) return;
  std::memset(data_, 0, size_bytes_);
  asm volatile("" : : "r"(data_) : "memory");  // the zeros are observable
}

}  // namespace cria

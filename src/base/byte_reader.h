// Reading little-endian values from bytes that nobody vouches for.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/result.h"

namespace cria {

static_assert(std::endian::native == std::endian::little, "cria's formats are read in place");

// A cursor over untrusted bytes. Every read checks what is left; a read past the end is an error
// that names the offset and what was being read. Never reads out of bounds, never overflows.
class ByteReader {
 public:
  // `what` names the source in errors ("model.gguf"); it must outlive the reader.
  ByteReader(std::span<const std::byte> bytes, std::string_view what)
      : bytes_(bytes), what_(what) {}

  std::size_t offset() const { return offset_; }
  std::size_t remaining() const { return bytes_.size() - offset_; }
  std::string_view what() const { return what_; }

  // One arithmetic value; `field` is its name in an error.
  template <typename T>
  requires std::is_arithmetic_v<T> Result<T> read(std::string_view field) {
    CRIA_ASSIGN_OR_RETURN(std::span<const std::byte> raw, take(sizeof(T), field));
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  // The next `size_bytes` bytes, in place.
  Result<std::span<const std::byte>> take(std::uint64_t size_bytes, std::string_view field) {
    if (size_bytes > remaining()) {
      return bad_input("{}: {} at byte {} needs {} bytes, {} are left", what_, field, offset_,
                       size_bytes, remaining());
    }
    auto raw = bytes_.subspan(offset_, size_bytes);
    offset_ += size_bytes;
    return raw;
  }

  // The next `size_bytes` bytes as text, in place (any bytes, not checked for UTF-8).
  Result<std::string_view> take_text(std::uint64_t size_bytes, std::string_view field) {
    CRIA_ASSIGN_OR_RETURN(auto raw, take(size_bytes, field));
    return std::string_view(reinterpret_cast<const char*>(raw.data()), raw.size());
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view what_;
  std::size_t offset_ = 0;
};

}  // namespace cria

// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace cria {

// The whole file as read-only bytes, shared with the page cache (MAP_PRIVATE | PROT_READ, nothing
// is read until it is touched). Movable; the mapping lives until destruction. An empty file maps to
// an empty span. A directory, a missing file or an unreadable one is an error that names the path.
// Thread-safety: const methods are safe from any thread.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  // The same, but edit() may write to the mapping. The file never changes: pages that were written
  // to become this process's own.
  static Result<MappedFile> open_for_edits(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  const std::string& path() const { return path_; }

  // Bytes [offset, offset + size) to write to. REQUIRES: open_for_edits(), in the file.
  std::span<std::byte> edit(std::size_t offset, std::size_t size);
  // All pages with a byte of [offset, offset + size) are as the file has them again. REQUIRES: as
  // edit().
  Status undo_edits(std::size_t offset, std::size_t size);

  // Tells the kernel that the pages of [offset, offset + size) will not be needed soon, so that a
  // long sequential read does not keep the whole file resident. Advice only.
  void forget(std::size_t offset, std::size_t size) const;

 private:
  MappedFile() = default;
  static Result<MappedFile> open(const std::string& path, bool editable);
  std::string path_;
  int descriptor_ = -1;  // open as long as the mapping can be edited
  const std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace cria

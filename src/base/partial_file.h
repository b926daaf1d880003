// A file that appears under its name complete, or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace cria {

// Written under no name (O_TMPFILE), so that nothing remains even of a killed process; where the
// file system cannot do that, under "<path>.<random>.partial" in the same folder, removed on
// destruction. commit() puts it in the place of `path` in one step; there is no fsync, so after a
// power failure the file may be damaged, which readers detect.
//
// A file over the process's size limit (RLIMIT_FSIZE) is an error like a full disk: SIGXFSZ, which
// would end the process, is held back in the calling thread during each call.
//
// Not thread-safe. Movable; destruction without commit() discards the file.
class PartialFile {
 public:
  PartialFile() = default;  // nothing open
  // Opens the temporary file and reserves `size_bytes` of disk where the file system can, so that a
  // full disk is found before the work is done. `path` may exist as a regular file (it is replaced)
  // or a link to one (its target is). Fails with kIo, or kOutOfResources when the disk is full.
  static Result<PartialFile> create(const std::string& path, std::uint64_t size_bytes);

  PartialFile(PartialFile&& other) noexcept;
  PartialFile& operator=(PartialFile&& other) noexcept;
  ~PartialFile();

  // Writes all bytes at an offset, at the latest with readable_path() and commit(): what follows
  // one another is collected, so an error may be that of earlier bytes. After one the file is
  // discarded.
  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  // Closes the file and gives it its name. After an error the file is discarded.
  Status commit();

  bool is_open() const { return descriptor_ >= 0; }
  // A path under which this process can open what was written so far, until commit().
  Result<std::string> readable_path();
  const std::string& path() const { return path_; }

 private:
  Status open_temporary(const std::string& folder);
  Status reserve(std::uint64_t size_bytes);
  Status write_now(std::uint64_t offset, std::span<const std::byte> bytes);
  Status flush();
  Status give_name();
  void discard();

  std::string path_;
  std::string temporary_path_;  // empty while the file has no name
  int descriptor_ = -1;
  std::vector<std::byte> collected_;  // of the file, from collected_offset_ on
  std::uint64_t collected_offset_ = 0;
};

}  // namespace cria

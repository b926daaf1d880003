// Writing safetensors files piece by piece, so that a model may be larger than memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/partial_file.h"
#include "base/result.h"
#include "tensor/storage_type.h"

namespace cria {

// A tensor to come.
struct SafetensorsEntry {
  std::string name;
  StorageType type = StorageType::kF32;  // kF32, kF16 or kBF16
  std::vector<std::int64_t> shape;       // outermost first
};

//   CRIA_ASSIGN_OR_RETURN(auto writer, SafetensorsWriter::create(path, entries));
//   for each tensor, in order: CRIA_RETURN_IF_ERROR(writer.append(its bytes, in any pieces));
//   CRIA_RETURN_IF_ERROR(writer.finish());
//
// Nothing is at `path` before finish() succeeded (base/partial_file.h). Holds about a MiB.
// Not thread-safe. Movable.
class SafetensorsWriter {
 public:
  // Writes the header and reserves the space. kInvalidArgument: an entry's type or shape; kIo, or
  // kOutOfResources when the disk is full.
  static Result<SafetensorsWriter> create(const std::string& path,
                                          std::span<const SafetensorsEntry> entries);

  // The next bytes of the data.
  Status append(std::span<const std::byte> bytes);

  // Gives the file its name. kInternal unless all bytes of all tensors were appended. Ends the
  // writer's work either way.
  Status finish();

  std::uint64_t file_bytes() const { return file_bytes_; }

 private:
  SafetensorsWriter() = default;
  Status flush();

  PartialFile file_;
  std::vector<std::byte> buffer_;
  std::uint64_t written_bytes_ = 0;  // the header and what left the buffer
  std::uint64_t file_bytes_ = 0;
};

}  // namespace cria

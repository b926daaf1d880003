// Writing `.pte` files, segment by segment, so that a program may be larger than memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/partial_file.h"
#include "base/result.h"
#include "format/pte/pte_program.h"

namespace cria::pte {

inline constexpr std::uint64_t kSegmentAlignment = 4096;  // of every segment in the file

//   CRIA_ASSIGN_OR_RETURN(PteWriter writer, PteWriter::create(path, std::move(program)));
//   for each segment, in order: CRIA_RETURN_IF_ERROR(writer.append(segment, bytes));
//   CRIA_RETURN_IF_ERROR(writer.finish());
//
// Nothing is at `path` before finish() succeeded: after an error, after destruction without
// finish(), and after the process was killed, `path` is as it was and no other file remains (see
// PartialFile for systems where a killed process leaves a temporary file).
// Not thread-safe. Movable.
class PteWriter {
 public:
  // Takes the program with the sizes of its segments (their offsets are set here) and reserves the
  // space. Fails with kBadInput (the program breaks a rule of verify_program), kIo, or
  // kOutOfResources (the disk is full).
  static Result<PteWriter> create(const std::string& path, Program program);

  // The next bytes of a segment. Segments come in the order of program().segments, each in one or
  // more pieces that add up to its size; empty segments may be left out.
  Status append(std::uint32_t segment, std::span<const std::byte> bytes);

  // The file is complete: gives it its name. Fails if a segment is not. Ends the writer's work
  // either way.
  Status finish();
  // The same, once `check` took the file, which it can open under the path that it is given. With
  // `keep` false no file is left, whatever it says.
  Status finish(const std::function<Status(const std::string& path)>& check, bool keep);

  const Program& program() const { return program_; }
  std::uint64_t file_bytes() const { return file_bytes_; }

 private:
  PteWriter() = default;
  Status check_order(std::uint32_t segment, std::size_t size_bytes);
  Status check_complete();

  PartialFile file_;
  Program program_;
  std::uint64_t segment_base_offset_ = 0;
  std::uint64_t file_bytes_ = 0;
  std::uint32_t segment_ = 0;        // being written
  std::uint64_t segment_bytes_ = 0;  // written of it
  std::array<std::byte, 8> head_{};  // the file's first bytes, which are written last
};

// The program's bytes as they stand at the start of a file, extended header included; for tests
// and for PteWriter. Fails with kUnsupported when it would exceed the format's 1 GiB.
struct ProgramBytes {
  std::vector<std::byte> bytes;
  std::uint64_t segment_base_offset = 0;
  std::uint64_t file_bytes = 0;
};
// Lays the segments of `program` out and encodes it.
Result<ProgramBytes> encode_program(Program& program);

}  // namespace cria::pte

// Reading `.pte` files: ours and those of any ExecuTorch exporter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.h"
#include "format/pte/pte_program.h"

namespace cria::pte {

// A program and where its data is. Data are spans into the bytes that were read, which must
// outlive this. Copyable; safe to read from any thread.
struct PteFile {
  Program program;
  std::span<const std::byte> file;
  std::uint64_t program_bytes = 0;        // the program itself, at the start of the file
  std::uint64_t segment_base_offset = 0;  // where the segments start; 0: none
  bool has_extended_header = false;       // absent in old files, which have no segments

  // REQUIRES: an index that the program names, so it is in range.
  std::span<const std::byte> segment(std::uint32_t index) const;
  // Named data, or nullopt.
  std::optional<std::span<const std::byte>> named_data(std::string_view key) const;
  // What a delegate's compiler made. REQUIRES: `delegate` is of this program.
  std::span<const std::byte> delegate_blob(const BackendDelegate& delegate) const;
};

// Reads and verifies everything except the segments' contents; nothing in the result is out of
// range. `what` names the source in errors; `file` must be aligned to 16 bytes (a mapping is).
// Fails with kBadInput (not a .pte, truncated, malformed) or kUnsupported (a newer version).
Result<PteFile> read_pte(std::span<const std::byte> file, std::string_view what);

}  // namespace cria::pte

#include "format/pte/pte_reader.h"

#include <algorithm>
#include <string>

#include "base/byte_reader.h"
#include "base/quote.h"
#include "format/pte/pte_flatbuffer.h"
#include "format/pte/pte_schema.h"
#include "format/pte/pte_verify.h"

namespace cria::pte {
namespace {

// Where the parts of a file are, from its extended header if it has one.
struct Layout {
  std::uint64_t program_bytes = 0;
  std::uint64_t segment_base_offset = 0;
  std::uint64_t segment_data_bytes = 0;
  bool has_extended_header = false;
};

std::string_view text_at(std::span<const std::byte> file, std::size_t offset, std::size_t size) {
  if (offset + size > file.size()) return {};
  return {reinterpret_cast<const char*>(file.data()) + offset, size};
}

Status check_identifier(std::span<const std::byte> file, std::string_view what) {
  const std::string_view found = text_at(file, 4, 4);
  if (found == schema::kIdentifier) return {};
  if (found.size() == 4 && found.starts_with("ET") && found > schema::kIdentifier) {
    return unsupported("{}: a program in format {}, this build reads {}", what, quote(found),
                       quote(schema::kIdentifier));
  }
  return bad_input("{}: no ExecuTorch program (bytes 4 to 7 are {}, expected {})", what,
                   quote(found), quote(schema::kIdentifier));
}

// The header's sizes against the file's. `length` is the header's own, from its magic on.
Status check_layout(const Layout& layout, std::uint64_t file_bytes, std::uint32_t length,
                    std::string_view what) {
  if (length < schema::kHeaderBytesMin || length > file_bytes - schema::kHeaderOffset) {
    return bad_input("{}: an extended header of {} bytes, expected at least {}, in a file of {}",
                     what, length, schema::kHeaderBytesMin, file_bytes);
  }
  if (layout.program_bytes < schema::kHeaderOffset + length || layout.program_bytes > file_bytes) {
    return bad_input("{}: the program should have {} bytes, the file has {}: truncated?", what,
                     layout.program_bytes, file_bytes);
  }
  const std::uint64_t base = layout.segment_base_offset;
  if (base != 0 && (base < layout.program_bytes || base > file_bytes ||
                    layout.segment_data_bytes > file_bytes - base)) {
    return bad_input(
        "{}: segments of {} bytes should start at {}, after the program's {}, the file has {}: "
        "truncated?",
        what, layout.segment_data_bytes, base, layout.program_bytes, file_bytes);
  }
  return {};
}

Result<Layout> read_layout(std::span<const std::byte> file, std::string_view what) {
  const std::string_view magic = text_at(file, schema::kHeaderOffset, 4);
  Layout layout;
  if (!magic.starts_with("eh")) {
    layout.program_bytes = file.size();
    return layout;
  }
  if (magic != schema::kHeaderMagic) {
    return unsupported("{}: an extended header {}, this build reads {}", what, quote(magic),
                       quote(schema::kHeaderMagic));
  }
  ByteReader in(file.subspan(schema::kHeaderOffset + 4), what);
  CRIA_ASSIGN_OR_RETURN(const auto length, in.read<std::uint32_t>("header length"));
  CRIA_ASSIGN_OR_RETURN(layout.program_bytes, in.read<std::uint64_t>("program size"));
  CRIA_ASSIGN_OR_RETURN(layout.segment_base_offset, in.read<std::uint64_t>("segment offset"));
  if (length >= schema::kHeaderBytes) {
    CRIA_ASSIGN_OR_RETURN(layout.segment_data_bytes, in.read<std::uint64_t>("segment size"));
  }
  layout.has_extended_header = true;
  CRIA_RETURN_IF_ERROR(check_layout(layout, file.size(), length, what));
  // Programs of before 1.0 do not say how large their segments are.
  if (layout.segment_base_offset != 0 && layout.segment_data_bytes == 0) {
    layout.segment_data_bytes = file.size() - layout.segment_base_offset;
  }
  return layout;
}

}  // namespace

std::span<const std::byte> PteFile::segment(std::uint32_t index) const {
  const DataSegment& segment = program.segments[index];
  return file.subspan(segment_base_offset + segment.offset_bytes, segment.size_bytes);
}

std::optional<std::span<const std::byte>> PteFile::named_data(std::string_view key) const {
  const auto found = std::ranges::find(program.named_data, key, &NamedData::key);
  if (found == program.named_data.end()) return std::nullopt;
  return segment(found->segment_index);
}

std::span<const std::byte> PteFile::delegate_blob(const BackendDelegate& delegate) const {
  if (delegate.in_segment) return segment(delegate.data_index);
  return program.backend_delegate_data[delegate.data_index].bytes;
}

Result<PteFile> read_pte(std::span<const std::byte> file, std::string_view what) {
  if (reinterpret_cast<std::uintptr_t>(file.data()) % schema::kProgramAlignment != 0) {
    return invalid_argument("{}: the bytes must be aligned to {}", what, schema::kProgramAlignment);
  }
  CRIA_RETURN_IF_ERROR(check_identifier(file, what));
  CRIA_ASSIGN_OR_RETURN(const Layout layout, read_layout(file, what));
  if (layout.program_bytes > schema::kMaxProgramBytes) {
    return unsupported("{}: a program of {} bytes (without its segments), at most {}", what,
                       layout.program_bytes, schema::kMaxProgramBytes);
  }
  const auto program_bytes = file.first(layout.program_bytes);
  const std::string context(what);
  CRIA_RETURN_IF_ERROR(verify_flatbuffer(program_bytes).with_context(context));
  Result<Program> program = parse_flatbuffer(program_bytes);
  if (!program.ok()) return std::move(program).status().with_context(context);
  CRIA_RETURN_IF_ERROR(verify_program(*program, layout.segment_data_bytes).with_context(context));
  return PteFile{.program = std::move(*program),
                 .file = file,
                 .program_bytes = layout.program_bytes,
                 .segment_base_offset = layout.segment_base_offset,
                 .has_extended_header = layout.has_extended_header};
}

}  // namespace cria::pte

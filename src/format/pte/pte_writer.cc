#include "format/pte/pte_writer.h"

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"
#include "format/pte/pte_flatbuffer.h"
#include "format/pte/pte_schema.h"
#include "format/pte/pte_verify.h"

namespace cria::pte {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 46;

// Places the segments one after the other; the bytes that they span.
Result<std::uint64_t> place_segments(Program& program) {
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < program.segments.size(); ++i) {
    DataSegment& segment = program.segments[i];
    if (segment.size_bytes > kMaxFileBytes - end) {
      return unsupported("segment {} has {} bytes, the file may have {}", i, segment.size_bytes,
                         kMaxFileBytes);
    }
    segment.offset_bytes = align_up(end, kSegmentAlignment);
    end = segment.offset_bytes + segment.size_bytes;
  }
  return end;
}

// Before anything is built: the flatbuffer's size is bounded by what is inline in it, as all else
// is limited by verify_program and by memory.
Status check_inline_size(const Program& program) {
  std::uint64_t inline_bytes = 0;
  for (const auto* list : {&program.constant_buffer, &program.backend_delegate_data}) {
    for (const InlineData& data : *list) inline_bytes += data.bytes.size();
  }
  if (inline_bytes < schema::kMaxProgramBytes / 2) return {};
  return unsupported("{} bytes of data inside the program, at most {}; use segments", inline_bytes,
                     schema::kMaxProgramBytes / 2);
}

void put(std::vector<std::byte>& bytes, std::size_t at, const void* value, std::size_t size) {
  std::memcpy(bytes.data() + at, value, size);
}

}  // namespace

Result<ProgramBytes> encode_program(Program& program) {
  CRIA_RETURN_IF_ERROR(check_inline_size(program));
  CRIA_ASSIGN_OR_RETURN(const std::uint64_t segment_data_bytes, place_segments(program));
  CRIA_RETURN_IF_ERROR(verify_program(program, segment_data_bytes));
  // Runtimes refuse programs without it, even when there are no constants.
  if (!program.constant_segment) program.constant_segment = SubsegmentOffsets{0, {0}};

  ProgramBytes out;
  out.bytes = emit_flatbuffer(program);
  // The header goes between the identifier and the rest, so the root moves by its size.
  out.bytes.insert(out.bytes.begin() + schema::kHeaderOffset, schema::kHeaderBytes, std::byte{0});
  std::uint32_t root = 0;
  std::memcpy(&root, out.bytes.data(), sizeof(root));
  root += schema::kHeaderBytes;
  const std::uint64_t program_bytes = out.bytes.size();
  const bool has_segments = !program.segments.empty();
  out.segment_base_offset = has_segments ? align_up(program_bytes, kSegmentAlignment) : 0;
  out.file_bytes = has_segments ? out.segment_base_offset + segment_data_bytes : program_bytes;

  put(out.bytes, 0, &root, 4);
  put(out.bytes, 8, schema::kHeaderMagic, 4);
  put(out.bytes, 12, &schema::kHeaderBytes, 4);
  put(out.bytes, 16, &program_bytes, 8);
  put(out.bytes, 24, &out.segment_base_offset, 8);
  put(out.bytes, 32, &segment_data_bytes, 8);
  return out;
}

Result<PteWriter> PteWriter::create(const std::string& path, Program program) {
  PteWriter writer;
  Result<ProgramBytes> encoded = encode_program(program);
  if (!encoded.ok()) return std::move(encoded).status().with_context(path);
  writer.program_ = std::move(program);
  writer.segment_base_offset_ = encoded->segment_base_offset;
  writer.file_bytes_ = encoded->file_bytes;
  CRIA_ASSIGN_OR_RETURN(writer.file_, PartialFile::create(path, encoded->file_bytes));
  // Without its first bytes the file is no program, whatever happens to it.
  const std::span<const std::byte> bytes(encoded->bytes);
  std::ranges::copy(bytes.first(writer.head_.size()), writer.head_.begin());
  CRIA_RETURN_IF_ERROR(
      writer.file_.write_at(writer.head_.size(), bytes.subspan(writer.head_.size())));
  return writer;
}

Status PteWriter::check_order(std::uint32_t segment, std::size_t size_bytes) {
  if (segment >= program_.segments.size()) {
    return internal_error("{}: segment {} is written, there are {}", file_.path(), segment,
                          program_.segments.size());
  }
  while (segment_ < segment && segment_bytes_ == program_.segments[segment_].size_bytes) {
    ++segment_;
    segment_bytes_ = 0;
  }
  const std::uint64_t left = program_.segments[segment_].size_bytes - segment_bytes_;
  if (segment_ != segment || size_bytes > left) {
    return internal_error("{}: {} bytes of segment {} are written, expected {} of segment {}",
                          file_.path(), size_bytes, segment, left, segment_);
  }
  return {};
}

Status PteWriter::append(std::uint32_t segment, std::span<const std::byte> bytes) {
  CRIA_RETURN_IF_ERROR(check_order(segment, bytes.size()));
  const std::uint64_t offset = segment_base_offset_ + program_.segments[segment].offset_bytes;
  CRIA_RETURN_IF_ERROR(file_.write_at(offset + segment_bytes_, bytes));
  segment_bytes_ += bytes.size();
  return {};
}

Status PteWriter::check_complete() {
  if (program_.segments.empty()) return {};
  const auto last = static_cast<std::uint32_t>(program_.segments.size() - 1);
  CRIA_RETURN_IF_ERROR(check_order(last, 0));
  if (segment_bytes_ == program_.segments[last].size_bytes) return {};
  return internal_error("{}: segment {} has {} of {} bytes", file_.path(), last, segment_bytes_,
                        program_.segments[last].size_bytes);
}

Status PteWriter::finish() { return finish({}, true); }

Status PteWriter::finish(const std::function<Status(const std::string& path)>& check, bool keep) {
  Status status = check_complete();
  if (status.ok()) status = file_.write_at(0, head_);
  if (status.ok() && check) {
    const Result<std::string> so_far = file_.readable_path();
    status = so_far.ok() ? check(*so_far) : so_far.status();
  }
  if (status.ok() && keep) status = file_.commit();
  file_ = PartialFile();  // whatever is left of it goes
  return status;
}

}  // namespace cria::pte

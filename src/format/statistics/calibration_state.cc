#include "format/statistics/calibration_state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/byte_reader.h"

namespace cria {
namespace {

constexpr std::uint64_t kStateMagic = 0x54524150'53415243;  // "CRASPART": not yet statistics
constexpr std::uint64_t kRecordMagic = 0x31444f5345534143;
constexpr std::uint64_t kChecksumBytes = std::uint64_t{4} << 20;  // read at a time

// Changes when the machine starts; empty where there is no such thing.
std::string boot_id() {
  std::string id;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id);
  return id.substr(0, 36);
}

std::vector<CalibrationUnit> units_of(const StatisticsHeader& header,
                                      const StatisticsLayout& layout) {
  std::vector<CalibrationUnit> units;
  for (std::size_t i = 0; i < header.inputs.size(); ++i) {
    const std::int64_t n_cols = header.inputs[i].n_cols;
    units.push_back({i, true, 0, 0, layout.sums[i], sums_bytes(n_cols)});
    for (std::int64_t row = 0; header.has_hessian && row < n_cols; row += kUnitRows) {
      const std::int64_t n_rows = std::min(kUnitRows, n_cols - row);
      const auto first = static_cast<std::uint64_t>(triangle_row(n_cols, row));
      const auto end = static_cast<std::uint64_t>(triangle_row(n_cols, row + n_rows));
      units.push_back({i, false, row, n_rows, layout.triangles[i] + first * sizeof(std::int64_t),
                       (end - first) * sizeof(std::int64_t)});
    }
  }
  return units;
}

std::vector<std::byte> state_head(const StatisticsHeader& header) {
  std::vector<std::byte> head = encode_statistics_header(header);
  std::memcpy(head.data(), &kStateMagic, sizeof(kStateMagic));
  return head;
}

// What differs between two runs, for an error; empty: nothing.
std::string describe_run_difference(const StatisticsHeader& found, const StatisticsHeader& wanted) {
  if (std::string model = describe_difference(found.model, wanted.model); !model.empty()) {
    return "another model: " + model;
  }
  if (found.window_tokens != wanted.window_tokens) {
    return fmt::format("windows of {} tokens, expected {}", found.window_tokens,
                       wanted.window_tokens);
  }
  if (found.has_hessian != wanted.has_hessian) {
    return found.has_hessian ? "with Hessians, expected none" : "without Hessians";
  }
  if (found.texts != wanted.texts) {
    return fmt::format("another text, or other windows of it ({} in all, expected {})",
                       found.n_windows(), wanted.n_windows());
  }
  return {};
}

}  // namespace

// One sector, so that it is written whole.
struct CalibrationState::Record {
  std::uint64_t magic = kRecordMagic;
  CalibrationPosition position;
  std::uint64_t journal_bytes = 0;  // > 0: next_unit is in the journal and belongs into its place
  std::uint32_t paused = 0;
  char boot_id[36] = {};
};

CalibrationState::CalibrationState(CalibrationState&& other) noexcept
    : out_path_(std::move(other.out_path_)),
      path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      header_(std::move(other.header_)),
      layout_(std::move(other.layout_)),
      record_offset_(other.record_offset_),
      units_(std::move(other.units_)),
      position_(other.position_) {}

CalibrationState::~CalibrationState() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status CalibrationState::system_error(const char* action) const {
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return out_of_resources("{}: cannot {}: {} ({} bytes are needed)", path_, action,
                            std::strerror(error), record_offset_);
  }
  return io_error("{}: cannot {}: {}", path_, action, std::strerror(error));
}

Status CalibrationState::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("read");
    if (n == 0) return bad_input("{}: ends at byte {}", path_, offset);
    out = out.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Status CalibrationState::write_at(std::uint64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return system_error("write");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<CalibrationState> CalibrationState::open(const std::string& out_path,
                                                const StatisticsHeader& header) {
  CRIA_RETURN_IF_ERROR(check_statistics_header(header, out_path));
  CalibrationState state(out_path);
  state.path_ = path_of(out_path);
  state.header_ = header;
  for (StatisticsInput& input : state.header_.inputs)
    input.sums_checksum = input.hessian_checksum = 0;
  state.layout_ = layout_of(header);
  state.units_ = units_of(header, state.layout_);
  state.record_offset_ = align_up(state.layout_.file_bytes, kPageAlignment);
  CRIA_RETURN_IF_ERROR(state.open_file());
  // A file without a head was being made when it was interrupted, or is new.
  std::uint64_t magic = 0;
  const ssize_t n = ::pread(state.descriptor_, &magic, sizeof(magic), 0);
  if (n < 0) return state.system_error("read");
  CRIA_RETURN_IF_ERROR(n < 8 || magic == 0 ? state.start() : state.resume());
  return state;
}

Status CalibrationState::open_file() {
  struct stat info = {};
  if (::stat(out_path_.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return io_error("{}: cannot write: it exists and is no regular file", out_path_);
  }
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) return system_error("create it");
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    return io_error("{}: another run is writing it", path_);
  }
  struct stat named = {};
  if (::fstat(descriptor_, &info) != 0 || ::stat(path_.c_str(), &named) != 0 ||
      info.st_ino != named.st_ino) {
    return io_error("{}: another run finished it just now", path_);
  }
  return {};
}

Status CalibrationState::start() {
  std::uint64_t journal_bytes = 0;
  for (const CalibrationUnit& unit : units_)
    journal_bytes = std::max(journal_bytes, unit.size_bytes);
  const std::uint64_t size = record_offset_ + kPageAlignment + journal_bytes;
  Status status;
  if (::ftruncate(descriptor_, 0) != 0 || ::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) {
    status = system_error("make it as large as needed");
  }
#ifdef __linux__
  // File systems that cannot reserve find out when they write.
  if (status.ok() && ::fallocate(descriptor_, 0, 0, static_cast<off_t>(size)) != 0 &&
      errno != EOPNOTSUPP) {
    status = system_error("reserve its space");
  }
#endif
  if (status.ok()) status = write_record(0, false);
  if (status.ok()) status = write_at(0, state_head(header_));
  if (!status.ok()) ::unlink(path_.c_str());
  return status;
}

Status CalibrationState::check_same_run(std::span<const std::byte> head) const {
  const auto hint = fmt::format("; delete {} to start again", path_);
  // The head of the earlier run may be longer or shorter; decode_statistics_header asks for the
  // whole file, whose size it says itself.
  std::vector<std::byte> copy(head.begin(), head.end());
  std::memcpy(copy.data(), &kStatisticsMagic, sizeof(kStatisticsMagic));
  Result<StatisticsHeader> found = decode_statistics_head(copy, path_);
  if (!found.ok()) return std::move(found).status();
  const std::string difference = describe_run_difference(*found, header_);
  if (!difference.empty()) {
    return invalid_argument("{}: the interrupted run was of {}{}", path_, difference, hint);
  }
  StatisticsHeader cleared = *found;
  for (StatisticsInput& input : cleared.inputs) input.sums_checksum = input.hessian_checksum = 0;
  if (encode_statistics_header(cleared) == encode_statistics_header(header_)) return {};
  return invalid_argument("{}: the interrupted run had other inputs{}", path_, hint);
}

Status CalibrationState::resume() {
  struct stat info = {};
  if (::fstat(descriptor_, &info) != 0) return system_error("look at it");
  const auto size = static_cast<std::uint64_t>(info.st_size);
  std::vector<std::byte> head(std::min(size, std::uint64_t{1} << 20));
  CRIA_RETURN_IF_ERROR(read_at(0, head));
  std::uint64_t magic;
  std::memcpy(&magic, head.data(), sizeof(magic));
  if (magic != kStateMagic && magic != kStatisticsMagic) {
    return bad_input("{}: no state of an interrupted run", path_);
  }
  CRIA_RETURN_IF_ERROR(check_same_run(head));
  if (magic == kStatisticsMagic) {  // interrupted between the last write and its renaming
    position_.first_window = position_.end_window = header_.n_windows();
    return {};
  }
  Record record;
  if (size < record_offset_ + kPageAlignment) {
    return bad_input("{}: has {} bytes, expected more than {}", path_, size, record_offset_);
  }
  CRIA_RETURN_IF_ERROR(read_at(record_offset_, std::as_writable_bytes(std::span(&record, 1))));
  const CalibrationPosition& at = record.position;
  const bool sane = record.magic == kRecordMagic && at.first_window >= 0 &&
                    at.first_window <= at.end_window && at.end_window <= header_.n_windows() &&
                    at.next_unit >= 0 && at.next_unit <= std::ssize(units_) && at.n_scored >= 0;
  if (!sane) return bad_input("{}: the record of an interrupted run is damaged", path_);
  if (record.paused == 0 && boot_id() != std::string(record.boot_id, strnlen(record.boot_id, 36))) {
    return bad_input(
        "{}: the machine stopped while this was written, so it may be damaged; delete it to start "
        "again",
        path_);
  }
  position_ = at;
  if (record.journal_bytes == 0) return write_record(0, false);
  const auto unit = static_cast<std::size_t>(at.next_unit);
  if (unit >= units_.size() || units_[unit].size_bytes != record.journal_bytes) {
    return bad_input("{}: the record of an interrupted run is damaged", path_);
  }
  std::vector<std::byte> bytes(record.journal_bytes);
  CRIA_RETURN_IF_ERROR(read_at(record_offset_ + kPageAlignment, bytes));
  CRIA_RETURN_IF_ERROR(write_at(units_[unit].offset, bytes));
  ++position_.next_unit;
  return write_record(0, false);
}

Status CalibrationState::write_record(std::uint64_t journal_bytes, bool paused) {
  Record record;
  record.position = position_;
  record.journal_bytes = journal_bytes;
  record.paused = paused ? 1 : 0;
  const std::string id = boot_id();
  std::memcpy(record.boot_id, id.data(), id.size());
  return write_at(record_offset_, std::as_bytes(std::span(&record, 1)));
}

Status CalibrationState::begin_batch(std::int64_t end_window) {
  position_.end_window = end_window;
  position_.next_unit = 0;
  return write_record(0, false);
}

Status CalibrationState::read_unit(std::size_t unit, std::span<std::byte> out) const {
  return read_at(units_[unit].offset, out);
}

Status CalibrationState::write_next_unit(std::span<const std::byte> bytes) {
  const CalibrationUnit& unit = units_[static_cast<std::size_t>(position_.next_unit)];
  CRIA_RETURN_IF_ERROR(write_at(record_offset_ + kPageAlignment, bytes));
  CRIA_RETURN_IF_ERROR(write_record(bytes.size(), false));
  CRIA_RETURN_IF_ERROR(write_at(unit.offset, bytes));
  ++position_.next_unit;
  return write_record(0, false);
}

Status CalibrationState::end_batch(double negative_log_likelihood, std::int64_t n_scored) {
  position_.first_window = position_.end_window;
  position_.next_unit = 0;
  position_.negative_log_likelihood += negative_log_likelihood;
  position_.n_scored += n_scored;
  return write_record(0, false);
}

Status CalibrationState::pause() {
  if (::fdatasync(descriptor_) != 0) return system_error("write it to disk");
  CRIA_RETURN_IF_ERROR(write_record(0, true));
  return ::fdatasync(descriptor_) == 0 ? Status() : system_error("write it to disk");
}

Status CalibrationState::checksum_inputs(const Progress& progress) {
  std::vector<std::byte> chunk(kChecksumBytes);
  const auto checksum = [&](std::uint64_t offset, std::uint64_t size) -> Result<std::uint64_t> {
    WordChecksum sum;
    for (std::uint64_t at = 0; at < size; at += kChecksumBytes) {
      const auto part = std::span(chunk).first(std::min(kChecksumBytes, size - at));
      CRIA_RETURN_IF_ERROR(read_at(offset + at, part));
      sum.add(part);
      if (progress && !progress("checksum", offset + at, layout_.file_bytes)) {
        return cancelled(
            "interrupted before the file was whole; the same command goes on from there");
      }
    }
    return sum.value();
  };
  for (std::size_t i = 0; i < header_.inputs.size(); ++i) {
    StatisticsInput& input = header_.inputs[i];
    CRIA_ASSIGN_OR_RETURN(input.sums_checksum, checksum(layout_.sums[i], sums_bytes(input.n_cols)));
    if (!header_.has_hessian) continue;
    CRIA_ASSIGN_OR_RETURN(input.hessian_checksum,
                          checksum(layout_.triangles[i], triangle_bytes(input.n_cols)));
  }
  return {};
}

Status CalibrationState::finish(const Progress& progress) {
  CRIA_RETURN_IF_ERROR(checksum_inputs(progress));
  if (progress) progress("checksum", layout_.file_bytes, layout_.file_bytes);
  CRIA_RETURN_IF_ERROR(write_at(0, encode_statistics_header(header_)));
  if (::ftruncate(descriptor_, static_cast<off_t>(layout_.file_bytes)) != 0) {
    return system_error("cut it to its size");
  }
  if (std::rename(path_.c_str(), out_path_.c_str()) != 0) return system_error("give it its name");
  return {};
}

}  // namespace cria

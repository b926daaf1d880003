#include "format/safetensors/safetensors_writer.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/quote.h"

namespace cria {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;
constexpr std::size_t kHeaderAlignment = 8;  // of the data, as the reference implementation has it

const char* dtype_of(StorageType type) {
  switch (type) {
    case StorageType::kF32:
      return "F32";
    case StorageType::kF16:
      return "F16";
    case StorageType::kBF16:
      return "BF16";
    default:
      return nullptr;
  }
}

Result<std::uint64_t> data_bytes(const SafetensorsEntry& entry) {
  if (dtype_of(entry.type) == nullptr) {
    return invalid_argument("tensor {} is {}; safetensors files hold F32, F16, BF16",
                            quote(entry.name), storage_spec(entry.type).name);
  }
  auto size = static_cast<std::int64_t>(storage_spec(entry.type).block_bytes);
  for (const std::int64_t dim : entry.shape) {
    if (dim < 0 || __builtin_mul_overflow(size, dim, &size)) {
      return invalid_argument("tensor {}: dimension {}: not a count, or too many elements",
                              quote(entry.name), dim);
    }
  }
  return static_cast<std::uint64_t>(size);
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::create(const std::string& path,
                                                    std::span<const SafetensorsEntry> entries) {
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    CRIA_ASSIGN_OR_RETURN(const std::uint64_t size, data_bytes(entry));
    header[entry.name] = {{"dtype", dtype_of(entry.type)},
                          {"shape", entry.shape},
                          {"data_offsets", {end, end + size}}};
    end += size;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  const std::uint64_t header_bytes = text.size();

  SafetensorsWriter writer;
  writer.file_bytes_ = sizeof(header_bytes) + header_bytes + end;
  CRIA_ASSIGN_OR_RETURN(writer.file_, PartialFile::create(path, writer.file_bytes_));
  writer.buffer_.reserve(kBufferBytes);
  CRIA_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(&header_bytes, 1))));
  CRIA_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(text))));
  return writer;
}

Status SafetensorsWriter::append(std::span<const std::byte> bytes) {
  const std::uint64_t left = file_bytes_ - written_bytes_ - buffer_.size();
  if (bytes.size() > left) {
    return internal_error("{}: {} more bytes are written, expected at most {}", file_.path(),
                          bytes.size(), left);
  }
  if (buffer_.size() + bytes.size() > kBufferBytes) CRIA_RETURN_IF_ERROR(flush());
  if (bytes.size() <= kBufferBytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return {};
  }
  CRIA_RETURN_IF_ERROR(file_.write_at(written_bytes_, bytes));
  written_bytes_ += bytes.size();
  return {};
}

Status SafetensorsWriter::flush() {
  CRIA_RETURN_IF_ERROR(file_.write_at(written_bytes_, buffer_));
  written_bytes_ += buffer_.size();
  buffer_.clear();
  return {};
}

Status SafetensorsWriter::finish() {
  Status status = flush();
  if (status.ok() && written_bytes_ != file_bytes_) {
    status =
        internal_error("{}: {} of {} bytes are written", file_.path(), written_bytes_, file_bytes_);
  }
  if (status.ok()) status = file_.commit();
  file_ = PartialFile();  // whatever is left of it goes
  return status;
}

}  // namespace cria

#include "model/checkpoint.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <filesystem>

#include "base/mapped_file.h"
#include "base/quote.h"
#include "format/gguf/gguf.h"
#include "format/llama2c/llama2c.h"
#include "format/safetensors/safetensors.h"
#include "model/gguf_checkpoint.h"
#include "model/hf_checkpoint.h"
#include "model/llama2c_checkpoint.h"

namespace cria {
namespace {

constexpr std::string_view kProgramMagic = "ET12";  // at byte 4 of an ExecuTorch program

bool is_program(std::span<const std::byte> bytes) {
  return bytes.size() >= 8 &&
         std::memcmp(bytes.data() + 4, kProgramMagic.data(), kProgramMagic.size()) == 0;
}

bool is_json(std::span<const std::byte> bytes) {
  return !bytes.empty() && bytes[0] == std::byte{'{'};
}

}  // namespace

std::span<const std::byte> StoredWeight::row(std::int64_t row) const {
  assert(row >= 0 && row < n_rows && !source);
  std::int64_t in_file = row;
  if (interleaved_heads > 0) {
    // Half-split keeps all first members of a head's pairs, then all second ones; interleaved
    // keeps the two members of a pair together.
    const std::int64_t head_rows = n_rows / interleaved_heads;
    const std::int64_t in_head = row % head_rows;
    const std::int64_t half = head_rows / 2;
    in_file = row - in_head + 2 * (in_head % half) + in_head / half;
  }
  const std::size_t row_bytes = storage_row_bytes(type, n_cols);
  return bytes.subspan(static_cast<std::size_t>(in_file) * row_bytes, row_bytes);
}

void StoredWeight::decode_row(std::int64_t row, std::span<float> out) const {
  if (source) return source->decode_row(row, out);
  decode_stored_row(type, this->row(row), out);
}

Encoding StoredWeight::native_encoding() const {
  return source ? source->encoding() : storage_spec(type).encoding;
}

bool StoredWeight::is_exact(Encoding encoding) const {
  // Floats hold the product of any stored scale and code.
  if (encoding == Encoding::kF32) return true;
  if (!source) return encoding == native_encoding();
  return has_codes_of(native_encoding(), encoding) && source->why_inexact().empty();
}

void StoredWeight::split_row(std::int64_t row, RowCodes& out) const {
  assert(is_exact(out.encoding));
  if (source) return source->split_row(row, out);
  split_stored_row(type, this->row(row), out);
}

std::string StoredWeight::type_name() const {
  return source ? source->description() : storage_spec(type).name;
}

std::uint64_t StoredWeight::stored_bytes() const {
  return source ? source->stored_bytes() : bytes.size();
}

Result<const StoredWeight*> Checkpoint::weight(std::string_view canonical_name) const {
  const auto found = std::ranges::find(weights_, canonical_name, &StoredWeight::name);
  if (found == weights_.end()) return not_found("no weight {}", quote(canonical_name));
  return &*found;
}

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path,
                                                    const OpenOptions& options) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return open_hf_checkpoint(path, options);
  CRIA_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  if (GgufFile::recognizes(bytes)) return open_gguf_checkpoint(path, options);
  if (is_program(bytes)) {
    return bad_input("{}: a compiled program (.pte), expected a checkpoint", path);
  }
  if (SafetensorsFile::recognizes(bytes) || is_json(bytes)) {
    return bad_input("{}: one file of a Hugging Face model; name its folder instead", path);
  }
  if (recognizes_llama2c(bytes)) return open_llama2c_checkpoint(path, options);
  return bad_input(
      "{}: no checkpoint that cria reads: neither a GGUF file, a Hugging Face folder nor a "
      "llama2.c model",
      path);
}

}  // namespace cria

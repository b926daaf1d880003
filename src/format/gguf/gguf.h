// GGUF v2 and v3 files, read in place.
//
// Layout (little-endian): "GGUF", u32 version, u64 n_tensors, u64 n_metadata; metadata entries
// (string key, u32 type, value); tensor infos (string name, u32 n_dims, u64 dims[], u32 type, u64
// offset); padding to `general.alignment` (32 unless said); tensor data, offsets counted from here.
// A string is a u64 length and bytes. Source: ggml, docs/gguf.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "tensor/storage_type.h"

namespace cria {

enum class GgufValueType : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kText = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
const char* gguf_value_type_name(GgufValueType type);

// One metadata value, in place. Everything that was pointed at was bounds-checked by parse().
struct GgufValue {
  GgufValueType type = GgufValueType::kU8;          // kArray: see element_type
  GgufValueType element_type = GgufValueType::kU8;  // == type for a scalar; never kArray
  std::uint64_t count = 1;                          // elements of an array
  std::span<const std::byte> bytes;                 // the elements as the file has them

  // A scalar of any integer type (or bool) that fits, of any number type, of the named type.
  std::optional<std::int64_t> integer() const;
  std::optional<double> number() const;
  std::optional<bool> boolean() const;
  std::optional<std::string_view> text() const;

  // The elements of an array of texts, of integers (or bools), of numbers; nullopt for other types.
  std::optional<std::vector<std::string_view>> texts() const;
  std::optional<std::vector<std::int64_t>> integers() const;
  std::optional<std::vector<double>> numbers() const;

  // For people: the value, or type, length and the first elements of an array; at most about
  // `max_chars` characters, on one line.
  std::string to_string(std::size_t max_chars = 80) const;
};

struct GgufEntry {
  std::string_view key;
  GgufValue value;
};

struct GgufTensor {
  std::string_view name;
  StorageType type = StorageType::kF32;
  std::vector<std::int64_t> dims;    // as stored: dims[0] is contiguous
  std::uint64_t offset = 0;          // from the start of the file
  std::span<const std::byte> bytes;  // in place
};

// A parsed file: names, values and tensors point into the bytes that were given.
class GgufFile {
 public:
  // Checks everything that can be checked without reading tensor data: counts against the bytes
  // left before anything is reserved, types, dimensions and their product, whole blocks per row,
  // alignment, tensor ranges, duplicate keys and names. `what` names the file in errors. kBadInput
  // for a malformed file, kUnsupported (naming the tensor and the supported types) for a
  // well-formed one of other versions or tensor types. O(metadata) time; touches no tensor data.
  static Result<GgufFile> parse(std::span<const std::byte> bytes, std::string_view what);

  // Whether the bytes begin as a GGUF file does.
  static bool recognizes(std::span<const std::byte> bytes);

  std::uint32_t version() const { return version_; }
  std::uint64_t alignment() const { return alignment_; }
  const std::vector<GgufEntry>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  const GgufValue* find(std::string_view key) const;           // null: no such key
  const GgufTensor* find_tensor(std::string_view name) const;  // null: no such tensor

  // Typed values. A key that is absent gives `fallback` (or kBadInput naming the key, when that is
  // nullopt); one of another type is kBadInput.
  Result<std::int64_t> integer(std::string_view key, std::optional<std::int64_t> fallback) const;
  Result<double> number(std::string_view key, std::optional<double> fallback) const;
  Result<bool> boolean(std::string_view key, std::optional<bool> fallback) const;
  Result<std::string_view> text(std::string_view key,
                                std::optional<std::string_view> fallback) const;

  const std::string& what() const { return what_; }

 private:
  friend class GgufParser;
  GgufFile() = default;

  std::string what_;
  std::uint32_t version_ = 0;
  std::uint64_t alignment_ = 32;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, std::size_t> metadata_index_;
  std::unordered_map<std::string_view, std::size_t> tensor_index_;
};

}  // namespace cria

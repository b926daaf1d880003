// Safetensors files, read in place.
//
// Layout: u64 header length, a JSON header {name: {dtype, shape, data_offsets: [begin, end)},
// "__metadata__": {text: text}}, data; offsets count from the end of the header. Matrices are
// [rows, columns], columns contiguous. Source: huggingface/safetensors, README.md.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "tensor/storage_type.h"

namespace cria {

// The dtypes that are read: those of weights, and the integers that quantized weights are packed
// in.
enum class SafetensorsDtype : std::uint8_t { kF32, kF16, kBF16, kI32, kI16 };

const char* safetensors_dtype_name(SafetensorsDtype dtype);             // "BF16"
std::optional<StorageType> float_storage_type(SafetensorsDtype dtype);  // none for integers

struct SafetensorsTensor {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::vector<std::int64_t> shape;   // outermost first; empty for a scalar
  std::uint64_t offset = 0;          // from the start of the file
  std::span<const std::byte> bytes;  // in place
};

class SafetensorsFile {
 public:
  // Checks the header's length, its JSON (no key twice), and for every tensor dtype, shape, range
  // and that the range has exactly the bytes of the shape. kBadInput for a malformed file,
  // kUnsupported (naming the tensor and the supported types) for other dtypes. `what` names the
  // file in errors. Touches no tensor data.
  static Result<SafetensorsFile> parse(std::span<const std::byte> bytes, std::string_view what);

  // Whether the bytes begin as a safetensors file does.
  static bool recognizes(std::span<const std::byte> bytes);

  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }  // sorted by name
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const SafetensorsTensor* find_tensor(std::string_view name) const;  // null: no such tensor

 private:
  SafetensorsFile() = default;
  std::vector<SafetensorsTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// A mapped file and what is in it. Movable; `contents` points into `file`.
struct SafetensorsShard {
  MappedFile file;
  SafetensorsFile contents;
};

// The weights of a Hugging Face folder: `model.safetensors`, or else the files that
// `model.safetensors.index.json` names. Errors: kNotFound naming what is missing; kBadInput for a
// file name that leaves the folder, a tensor that is not in the file that the index says, or that
// lies in two files.
Result<std::vector<SafetensorsShard>> open_safetensors_folder(const std::string& folder);

}  // namespace cria

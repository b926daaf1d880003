// How weights are stored in the files that people have: plain floats and the block types of GGUF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "tensor/encoding.h"
#include "tensor/row_codes.h"

namespace cria {

// One storage type of a checkpoint. Safetensors and llama2.c files use the first three only.
enum class StorageType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
};

struct StorageSpec {
  StorageType type;
  const char* name;    // as GGUF spells it: "F32", "Q4_K", ...
  int block_elements;  // 1, 32 or 256
  int block_bytes;
  Encoding encoding;  // the native encoding that carries it without loss
};

const StorageSpec& storage_spec(StorageType type);

// Bytes of one row of `n_cols` elements. REQUIRES: n_cols is a multiple of block_elements.
std::size_t storage_row_bytes(StorageType type, std::int64_t n_cols);

// The scalar specification: one stored row as floats. `row` has storage_row_bytes(type, out.size())
// bytes.
void decode_stored_row(StorageType type, std::span<const std::byte> row, std::span<float> out);

// The same row as codes and scales of storage_spec(type).encoding, without loss:
// decode_codes(split_stored_row(r)) equals decode_stored_row(r) up to one float rounding per
// element. Only for block types (not F32, F16, BF16). REQUIRES: `out` was sized for (encoding,
// n_cols).
void split_stored_row(StorageType type, std::span<const std::byte> row, RowCodes& out);

}  // namespace cria

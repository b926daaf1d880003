// One row of weights, taken apart: the meeting point of readers, quantizers and the packer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/encoding.h"

namespace cria {

// One row in a block encoding, unpacked: what tensor/packing.h interleaves into panels.
// Raw forms (the bits that are stored) are kept, so that nothing is rounded on the way.
//
// Codes for several columns lie in those columns' codes, `bits` bits each (tensor/code_words.h): so
// there are codes for whole words, n_cols rounded up to the encoding's code_columns().
struct RowCodes {
  // Sizes all members for a row of `n_cols` columns, zero-filled; members that the encoding has no
  // use for stay empty.
  RowCodes(Encoding encoding, std::int64_t n_cols);

  Encoding encoding;
  std::int64_t n_cols;
  std::vector<std::uint8_t> codes;          // [n_cols] unsigned codes; see below
  std::vector<std::uint16_t> scales_f16;    // [n_blocks] kF16: half float bits
  std::vector<std::uint8_t> scales_8;       // [n_blocks] kE8M0: exponent; kSuper: int8 as its byte
  std::vector<std::uint16_t> mins_f16;      // [n_blocks] kF16 with min
  std::vector<std::uint8_t> mins_8;         // [n_blocks] kSuper with min
  std::vector<std::uint16_t> super_scales;  // [ceil(n_cols / 256)] kSuper: half float bits
  std::vector<std::uint16_t> super_mins;    // [ceil(n_cols / 256)] kSuper with min
};

// The scale and min of block `b` as floats (min is what is added, so it is negative for kSuper).
float block_scale(const RowCodes& row, std::int64_t b);
float block_min(const RowCodes& row, std::int64_t b);

// The scalar specification of every block encoding: w[k] = scale * codebook(code) + min, computed
// as fma(scale, value, min) in float. out.size() == row.n_cols.
void decode_codes(const RowCodes& row, std::span<float> out);

}  // namespace cria

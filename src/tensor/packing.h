// Rows of weights <-> packed panels (layout: tensor/encoding.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/encoding.h"
#include "tensor/row_codes.h"

namespace cria {

// Writes one panel from up to 16 rows of one block encoding and width; missing rows become padding.
// `panel` has panel_layout(encoding, n_cols).size_bytes bytes. REQUIRES: 1 <= rows.size() <= 16,
// same shape.
void pack_panel(std::span<const RowCodes> rows, std::span<std::byte> panel);

// The same for a dense encoding from float rows (row-major [n_rows, n_cols], n_rows <= 16),
// rounding to nearest even; f16 overflow becomes infinity (callers check ranges first).
void pack_dense_panel(Encoding encoding, std::span<const float> rows, std::int64_t n_cols,
                      std::span<std::byte> panel);

// Row `row` of a packed matrix as its codes (block encodings), and as floats (all encodings):
// the inverse of packing, the specification of what kernels read, and the embedding look-up.
RowCodes unpack_row(Encoding encoding, std::span<const std::byte> packed, std::int64_t n_cols,
                    std::int64_t row);
void decode_packed_row(Encoding encoding, std::span<const std::byte> packed, std::int64_t n_cols,
                       std::int64_t row, std::span<float> out);

// What the 32 columns of row `row` (0..15) of a column group are, for encodings whose codes are for
// several columns. `group`: the group's planes.
void unpack_word_values(Encoding encoding, const std::uint8_t* group, int row, std::int8_t* values);

}  // namespace cria

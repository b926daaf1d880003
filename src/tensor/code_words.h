// Codes of several columns that are one number: codebooks of vectors have a code for 8 columns,
// pairs one for 4. Between readers, quantizers and the packer (RowCodes) such a word travels like
// all codes, `bits` bits a column: column i carries bits i * bits and up.
#pragma once

#include <cstdint>

namespace cria {

constexpr std::uint32_t join_codes(const std::uint8_t* codes, int n_columns, int bits) {
  std::uint32_t word = 0;
  for (int i = 0; i < n_columns; ++i) word |= std::uint32_t{codes[i]} << (i * bits);
  return word;
}

constexpr void split_word(std::uint32_t word, int n_columns, int bits, std::uint8_t* codes) {
  for (int i = 0; i < n_columns; ++i) {
    codes[i] = static_cast<std::uint8_t>(word >> (i * bits) & ((1u << bits) - 1));
  }
}

}  // namespace cria

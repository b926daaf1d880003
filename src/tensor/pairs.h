// Pairs: two weights of four consecutive columns, the others are zero ("2:4 sparsity").
//
// The word of four columns has the two codes, each as kSigned of `code_bits` (4 or 8) bits, and
// their places:
//
//   bits 0 ..             code a      2 * code_bits, +1      place of a
//   bits code_bits ..     code b      2 * code_bits + 2, +3  place of b, which wins if it is the
//   same
//
// So four columns take 2 * code_bits + 4 bits: 3 bits a weight instead of 4, or 5 instead of 8.
#pragma once

#include <cstdint>

#include "tensor/row_codes.h"

namespace cria {

inline constexpr int kPairColumns = 4;

// Of an encoding with Codebook::kPairs, from its bits a weight.
constexpr int pair_code_bits(int bits) { return bits == 3 ? 4 : 8; }

// What the four columns of a word are: code minus offset at the two places, zero elsewhere.
constexpr void pair_decode(int code_bits, std::uint32_t word, std::int8_t* values) {
  const std::uint32_t mask = (1u << code_bits) - 1;
  const int offset = 1 << (code_bits - 1);
  for (int i = 0; i < kPairColumns; ++i) values[i] = 0;
  values[word >> (2 * code_bits) & 3] =
      static_cast<std::int8_t>(static_cast<int>(word & mask) - offset);
  values[word >> (2 * code_bits + 2) & 3] =
      static_cast<std::int8_t>(static_cast<int>(word >> code_bits & mask) - offset);
}

// Takes the same weights from plain codes (q4 or q8) to pairs. False, with `out` as it was, if more
// than two of four consecutive columns are not zero. REQUIRES: out was made for the same number of
// columns and for q4s24 (q4) or q8s24 (q8).
bool pairs_of_codes(const RowCodes& plain, RowCodes& out);

}  // namespace cria

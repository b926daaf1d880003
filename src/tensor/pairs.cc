#include "tensor/pairs.h"

#include <algorithm>
#include <cassert>
#include <optional>

#include "tensor/code_words.h"

namespace cria {
namespace {

// The word of `n` (up to four) columns; nullopt if more than two are not zero.
std::optional<std::uint32_t> pair_word(const std::uint8_t* codes, int n, int code_bits) {
  const std::uint32_t zero = 1u << (code_bits - 1);
  std::uint32_t code[2] = {zero, zero}, place[2] = {0, 1};
  int n_found = 0;
  for (int i = 0; i < n; ++i) {
    if (codes[i] == zero) continue;
    if (n_found == 2) return std::nullopt;
    code[n_found] = codes[i];
    place[n_found++] = static_cast<std::uint32_t>(i);
  }
  if (n_found == 1 && place[0] == 1) place[1] = 0;  // the second, a zero, must not hide the first
  return code[0] | code[1] << code_bits | place[0] << (2 * code_bits) |
         place[1] << (2 * code_bits + 2);
}

}  // namespace

bool pairs_of_codes(const RowCodes& plain, RowCodes& out) {
  const EncodingSpec to = encoding_spec(out.encoding);
  assert(to.codebook == Codebook::kPairs && plain.n_cols == out.n_cols);
  const int code_bits = pair_code_bits(to.bits);
  assert(encoding_spec(plain.encoding).codebook == Codebook::kSigned &&
         encoding_spec(plain.encoding).bits == code_bits);
  std::vector<std::uint8_t> codes(out.codes.size());
  for (std::int64_t k = 0; k < plain.n_cols; k += kPairColumns) {
    const int n = static_cast<int>(std::min<std::int64_t>(kPairColumns, plain.n_cols - k));
    const auto word = pair_word(plain.codes.data() + k, n, code_bits);
    if (!word) return false;
    split_word(*word, kPairColumns, to.bits, codes.data() + k);
  }
  out.codes = std::move(codes);
  out.scales_f16 = plain.scales_f16;
  return true;
}

}  // namespace cria

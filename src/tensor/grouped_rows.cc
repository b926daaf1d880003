#include "tensor/grouped_rows.h"

#include <fmt/format.h>

#include <cassert>

#include "tensor/float16.h"

namespace cria {
namespace {

constexpr int kBlock = 32;
// From wide to narrow: all bit widths have them.
constexpr int kWideBlocks[] = {kPerChannel, 128, 64};
// The signed encodings, narrowest first.
constexpr Encoding kSigned[] = {Encoding::kQ2, Encoding::kQ3, Encoding::kQ4,
                                Encoding::kQ5, Encoding::kQ6, Encoding::kQ8};

int smallest_code(Encoding encoding) { return -(1 << (encoding_spec(encoding).bits - 1)); }

const Encoding* narrowest_for(int smallest, int largest) {
  for (const Encoding& encoding : kSigned) {
    const int bound = smallest_code(encoding);
    if (smallest >= bound && largest < -bound) return &encoding;
  }
  return nullptr;
}

// Three bits more than the codes have: the step is an eighth of the quantizer's own, so the error
// that is added is about 1/64 of the one that is already in the weights.
Encoding with_room(int bits) {
  for (const Encoding encoding : kSigned) {
    if (encoding_spec(encoding).bits >= bits + 3) return encoding;
  }
  return Encoding::kQ8;
}

}  // namespace

GroupedRows::GroupedRows(Facts facts) : facts_(std::move(facts)) {
  const Encoding* exact = narrowest_for(facts_.smallest_value, facts_.largest_value);
  if (exact != nullptr && blocks_have_one_group(kBlock)) {
    encoding_ = *exact;
    for (const int block : kWideBlocks) {
      if (!blocks_have_one_group(block)) continue;
      encoding_ = *encoding_with_block(*exact, block);
      break;
    }
    return;
  }
  encoding_ = with_room(facts_.bits);
  why_inexact_ = exact == nullptr
                     ? fmt::format("codes minus zero points of {} to {} need more than 8 bits",
                                   facts_.smallest_value, facts_.largest_value)
                     : fmt::format("columns of several groups lie in one block of {}", kBlock);
}

bool GroupedRows::blocks_have_one_group(int block) const {
  for (std::int64_t k = 0; k < n_cols(); ++k) {
    if (group_of(k) != group_of(k - k % block)) return false;
  }
  return true;
}

void GroupedRows::decode_row(std::int64_t row, std::span<float> out) const {
  assert(static_cast<std::int64_t>(out.size()) == n_cols());
  std::vector<std::int16_t> values(out.size());
  read_values(row, values);
  std::vector<float> scales(static_cast<std::size_t>(n_groups()));
  for (std::int32_t g = 0; g < n_groups(); ++g) scales[g] = f16_to_f32(scale(row, g));
  for (std::size_t k = 0; k < out.size(); ++k) {
    out[k] = scales[facts_.group_of_column[k]] * static_cast<float>(values[k]);
  }
}

void GroupedRows::split_row(std::int64_t row, RowCodes& out) const {
  assert(why_inexact_.empty() && has_codes_of(encoding_, out.encoding) && out.n_cols == n_cols());
  std::vector<std::int16_t> values(static_cast<std::size_t>(n_cols()));
  read_values(row, values);
  const int zero_code = -smallest_code(encoding_);
  for (std::size_t k = 0; k < values.size(); ++k) {
    out.codes[k] = static_cast<std::uint8_t>(values[k] + zero_code);
  }
  const std::int64_t block = encoding_spec(out.encoding).block;
  for (std::size_t b = 0; b < out.scales_f16.size(); ++b) {
    out.scales_f16[b] = scale(row, group_of(static_cast<std::int64_t>(b) * block));
  }
}

}  // namespace cria

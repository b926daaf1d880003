// The specification of linear_a8.
//
// For each output (token t, row r), over the groups g of 32 columns in order, with x the int8 codes
// of the token, X its scale and everything under `int` exact:
//
//   one scale   acc = fma(float(sum_k value[k] x[k]) * X, scale, acc)
//               acc = fma(float(sum_k x[k]) * X, min, acc)                          if has_min
//   two blocks  acc = fma(float(sum_b scale8[b] sum_k value[k] x[k]), super_scale * X, acc)
//               acc = fma(-float(sum_b min8[b] sum_k x[k]), super_min * X, acc)     if has_min
//
// acc starts at 0; out = acc, or out + acc. The integer sums stay below 2^27, so 32 bits hold them;
// those of one scale below 2^20. X has four significant bits (quantize_a8/generic.h), so all of
// these products are exact, and may be taken in any order.
// Two blocks of 16 columns in a group have their small scales multiplied in integers, which saves
// float operations; the product of the two levels of scales of one block is a float like any scale.
#pragma once

#include <cmath>

#include "kernels/kernels.h"
#include "kernels/panel/generic.h"

namespace cria::spec {
namespace {

// Tokens that share one unpacking of a row.
inline constexpr int kA8TokenBlock = 16;

// The integer sums of one group of one row, of products and of activations; of two blocks each is
// weighted by its small scale or min.
struct GroupSums {
  int dot;
  int min;
};

template <Encoding encoding>
inline GroupSums group_sums(const std::int8_t* values, const std::int8_t* x, const A8Block& block,
                            const Group& group, int row) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  constexpr int kBlocks = kColumnGroup / kSpec.block;
  GroupSums sums = {0, 0};
  for (int b = 0; b < kBlocks; ++b) {
    int dot = 0;
    for (int k = b * kSpec.block; k < (b + 1) * kSpec.block; ++k) dot += values[k] * x[k];
    int sum = kBlocks == 1 ? block.sums[0] + block.sums[1] : block.sums[b];
    if constexpr (kBlocks == 2) {
      dot *= small_scale<encoding>(group, b, row);
      if constexpr (kSpec.has_min) sum *= small_min<encoding>(group, b, row);
    }
    sums.dot += dot;
    sums.min += sum;
  }
  return sums;
}

template <Encoding encoding>
inline float add_group(const GroupSums& sums, float x_scale, const Group& group, int row,
                       float acc) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.block < kColumnGroup) {
    acc = std::fma(static_cast<float>(sums.dot), super_scale(group, row) * x_scale, acc);
    if constexpr (kSpec.has_min) {
      acc = std::fma(-static_cast<float>(sums.min), super_min(group, row) * x_scale, acc);
    }
    return acc;
  }
  acc = std::fma(static_cast<float>(sums.dot) * x_scale, block_scale<encoding>(group, 0, row), acc);
  if constexpr (kSpec.has_min) {
    acc = std::fma(static_cast<float>(sums.min) * x_scale, block_min<encoding>(group, 0, row), acc);
  }
  return acc;
}

// One row for the tokens [first, first + n).
template <Encoding encoding>
inline void linear_a8_row(const LinearA8Args& args, const Panel& panel, int row, std::int64_t first,
                          int n, float* acc) {
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  for (int t = 0; t < n; ++t) acc[t] = 0.0f;
  for (std::int64_t g = 0; g < n_groups; ++g) {
    std::int8_t values[kColumnGroup];
    const Group group = group_at<encoding>(panel, g);
    unpack_values<encoding>(group.codes, row, values);
    for (int t = 0; t < n; ++t) {
      const std::int64_t at = a8_index(first + t, g, args.n_tokens, n_groups);
      const A8Block& block = args.blocks[at];
      const GroupSums sums =
          group_sums<encoding>(values, args.codes + at * kColumnGroup, block, group, row);
      acc[t] = add_group<encoding>(sums, block.scale, group, row, acc[t]);
    }
  }
}

template <Encoding encoding>
inline void linear_a8_of(const LinearA8Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  for (std::int64_t r = 0; r < args.n_rows; ++r) {
    const std::int64_t panel_index = r / kPanelRows;
    const Panel panel =
        panel_at(args.panels + static_cast<std::size_t>(panel_index) * layout.size_bytes, layout);
    for (std::int64_t first = 0; first < args.n_tokens; first += kA8TokenBlock) {
      const std::int64_t left = args.n_tokens - first;
      const int n = left < kA8TokenBlock ? static_cast<int>(left) : kA8TokenBlock;
      float acc[kA8TokenBlock];
      linear_a8_row<encoding>(args, panel, static_cast<int>(r % kPanelRows), first, n, acc);
      for (int t = 0; t < n; ++t) {
        float& out = args.out[(first + t) * args.out_stride + r];
        out = args.accumulate ? out + acc[t] : acc[t];
      }
    }
  }
}

inline void linear_a8(const LinearA8Args& args) {
  switch (kernel_form(args.encoding)) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return linear_a8_of<Encoding::name>(args);
    CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
    default:
      return;  // dense weights have no a8 form
  }
}

}  // namespace
}  // namespace cria::spec

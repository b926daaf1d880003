// The specification of linear_a16.
//
//   part[j] = fma chain over k = j, j + 4, j + 8, ... in order, from 0:  fma(w[k], x[k], part[j])
//   acc     = (part[0] + part[1]) + (part[2] + part[3]);  out = acc, or out + acc
//
// with w[k] as decode_packed_row gives it: fma(scale, value, min). Four chains, because that is how
// the columns of a quad lie in a panel, and because one chain would wait for itself.
#pragma once

#include <cmath>

#include "kernels/kernels.h"
#include "kernels/panel/generic.h"

namespace cria::spec {
namespace {

inline constexpr int kA16TokenBlock = 16;

// Up to 32 decoded weights of one row, columns 32 * group onwards.
template <Encoding encoding>
inline void decode_group(const Group& group, int row, float* w) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  std::int8_t values[kColumnGroup];
  unpack_values<encoding>(group.codes, row, values);
  for (int k = 0; k < kColumnGroup; ++k) {
    const int b = k / kSpec.block;
    float min = 0.0f;
    if constexpr (kSpec.has_min) min = block_min<encoding>(group, b, row);
    w[k] = std::fma(block_scale<encoding>(group, b, row), static_cast<float>(values[k]), min);
  }
}

template <Encoding encoding>
inline void decode_dense_group(const std::byte* panel, std::int64_t group, int n, int row,
                               float* w) {
  for (int k = 0; k < n; ++k) {
    const std::int64_t at = (group * kColumnGroup + k) * kPanelRows + row;
    if constexpr (encoding == Encoding::kF32) {
      std::memcpy(&w[k], panel + 4 * at, sizeof(float));
    } else {
      std::uint16_t bits;
      std::memcpy(&bits, panel + 2 * at, sizeof(bits));
      w[k] = encoding == Encoding::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
    }
  }
}

// One row for the tokens [first, first + n).
template <Encoding encoding>
inline void linear_a16_row(const LinearA16Args& args, const std::byte* panel,
                           const PanelLayout& layout, int row, std::int64_t first, int n,
                           float (*parts)[4]) {
  for (std::int64_t k0 = 0; k0 < args.n_cols; k0 += kColumnGroup) {
    const std::int64_t left = args.n_cols - k0;
    const int n_cols = left < kColumnGroup ? static_cast<int>(left) : kColumnGroup;
    float w[kColumnGroup];
    if constexpr (encoding_spec(encoding).dense()) {
      decode_dense_group<encoding>(panel, k0 / kColumnGroup, n_cols, row, w);
    } else {
      decode_group<encoding>(group_at<encoding>(panel_at(panel, layout), k0 / kColumnGroup), row,
                             w);
    }
    for (int t = 0; t < n; ++t) {
      const float* x = args.x + (first + t) * args.x_stride + k0;
      for (int k = 0; k < n_cols; ++k) parts[t][k % 4] = std::fma(w[k], x[k], parts[t][k % 4]);
    }
  }
}

template <Encoding encoding>
inline void linear_a16_of(const LinearA16Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  for (std::int64_t r = 0; r < args.n_rows; ++r) {
    const std::byte* panel =
        args.panels + static_cast<std::size_t>(r / kPanelRows) * layout.size_bytes;
    for (std::int64_t first = 0; first < args.n_tokens; first += kA16TokenBlock) {
      const std::int64_t left = args.n_tokens - first;
      const int n = left < kA16TokenBlock ? static_cast<int>(left) : kA16TokenBlock;
      float parts[kA16TokenBlock][4] = {};
      linear_a16_row<encoding>(args, panel, layout, static_cast<int>(r % kPanelRows), first, n,
                               parts);
      for (int t = 0; t < n; ++t) {
        const float acc = (parts[t][0] + parts[t][1]) + (parts[t][2] + parts[t][3]);
        float& out = args.out[(first + t) * args.out_stride + r];
        out = args.accumulate ? out + acc : acc;
      }
    }
  }
}

inline void linear_a16(const LinearA16Args& args) {
  switch (kernel_form(args.encoding)) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return linear_a16_of<Encoding::name>(args);
    CRIA_CASE(kF32)
    CRIA_CASE(kF16)
    CRIA_CASE(kBF16)
    CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
    default:
      return;  // kernel_form() gives nothing else
  }
}

}  // namespace
}  // namespace cria::spec

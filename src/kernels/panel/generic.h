// Reading a packed panel one row at a time: the meaning of tensor/encoding.h's layout for kernels.
//
// Everything under cria::spec is scalar code that defines what kernels compute. It has internal
// linkage: files compiled for an instruction set include it too (for tails), and a shared inline
// symbol could let the linker put their instructions into the generic build.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"
#include "tensor/encoding.h"
#include "tensor/float16.h"
#include "tensor/packing.h"

namespace cria::spec {
namespace {

// The regions of one panel.
struct PanelRegions {
  const std::uint8_t* codes;
  const std::byte* scales;
  const std::byte* mins;
  const std::byte* supers;
  int scale_shift;
};

inline PanelRegions panel_regions(const std::byte* panel, const PanelLayout& layout) {
  return {reinterpret_cast<const std::uint8_t*>(panel + layout.codes_offset),
          panel + layout.scales_offset, panel + layout.mins_offset, panel + layout.supers_offset,
          layout.scale_shift};
}

// The codes of column group `g`.
template <Encoding encoding>
inline const std::uint8_t* codes_of(const PanelRegions& panel, std::int64_t g) {
  return panel.codes + g * encoding_spec(encoding).group_bytes();
}

// The scales, and mins, of block `b`: `block` columns that share them, or as many as a kernel takes
// for a block where these are wider.
template <Encoding encoding>
inline const std::byte* scales_of(const PanelRegions& panel, std::int64_t b) {
  return panel.scales + encoding_spec(encoding).scale_offset(b >> panel.scale_shift);
}
template <Encoding encoding>
inline const std::byte* mins_of(const PanelRegions& panel, std::int64_t b) {
  return panel.mins + encoding_spec(encoding).scale_offset(b >> panel.scale_shift);
}

// ORs `bits` of the 32 codes of `row` in, from planes of that width, at `shift`.
template <int bits>
inline void unpack_planes(const std::uint8_t* planes, int row, int shift, std::uint8_t* codes) {
  constexpr int kPerPlane = 8 / bits;
  for (int k = 0; k < kColumnGroup; ++k) {
    const int quad = k / 4;
    const int byte = planes[quad / kPerPlane * 64 + 4 * row + k % 4];
    const int field = (byte >> (quad % kPerPlane * bits)) & ((1 << bits) - 1);
    codes[k] = static_cast<std::uint8_t>(codes[k] | field << shift);
  }
}

// The 32 codes of `row` (0..15) in one column group, which are 64 * bits bytes.
template <int bits>
inline void unpack_codes(const std::uint8_t* group, int row, std::uint8_t* codes) {
  std::memset(codes, 0, kColumnGroup);
  if constexpr (bits == 3) {
    unpack_planes<2>(group, row, 0, codes);
    unpack_planes<1>(group + 2 * 64, row, 2, codes);
  } else if constexpr (bits == 5 || bits == 6) {
    unpack_planes<4>(group, row, 0, codes);
    unpack_planes<bits - 4>(group + 4 * 64, row, 4, codes);
  } else {
    unpack_planes<bits>(group, row, 0, codes);
  }
}

// What a code stands for.
template <Encoding encoding>
inline int code_value(int code) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.codebook == Codebook::kSigned) return code - (1 << (kSpec.bits - 1));
  if constexpr (kSpec.codebook == Codebook::kUnsigned) return code;
  return codebook_values(kSpec.codebook)[code];
}

// What the 32 columns of `row` in one column group are.
template <Encoding encoding>
inline void unpack_values(const std::uint8_t* group, int row, std::int8_t* values) {
  if constexpr (encoding_spec(encoding).code_columns() > 1) {
    unpack_word_values(encoding, group, row, values);
  } else {
    std::uint8_t codes[kColumnGroup];
    unpack_codes<encoding_spec(encoding).bits>(group, row, codes);
    for (int k = 0; k < kColumnGroup; ++k) {
      values[k] = static_cast<std::int8_t>(code_value<encoding>(codes[k]));
    }
  }
}

inline float half_at(const std::byte* region, std::int64_t index) {
  std::uint16_t bits;
  std::memcpy(&bits, region + 2 * index, sizeof(bits));
  return f16_to_f32(bits);
}

// Two levels of scales (kSuper): the bytes of block `b` of `row`, and what super block `s` has.
template <Encoding encoding>
inline int small_scale(const PanelRegions& panel, std::int64_t b, int row) {
  return static_cast<std::int8_t>(scales_of<encoding>(panel, b)[row]);
}
template <Encoding encoding>
inline int small_min(const PanelRegions& panel, std::int64_t b, int row) {
  return static_cast<std::uint8_t>(mins_of<encoding>(panel, b)[row]);
}
template <Encoding encoding>
inline float super_scale(const PanelRegions& panel, std::int64_t s, int row) {
  return half_at(panel.supers, s * kPanelRows * (encoding_spec(encoding).has_min ? 2 : 1) + row);
}
inline float super_min(const PanelRegions& panel, std::int64_t s, int row) {
  return half_at(panel.supers, (2 * s + 1) * kPanelRows + row);
}

// The scale of block `b` of `row`: a half float, a power of two, or the product of the two levels,
// which a float holds exactly.
template <Encoding encoding>
inline float block_scale(const PanelRegions& panel, std::int64_t b, int row) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kSuper) {
    return static_cast<float>(small_scale<encoding>(panel, b, row)) *
           super_scale<encoding>(panel, b * kSpec.block / kSuperBlock, row);
  }
  const std::byte* scales = scales_of<encoding>(panel, b);
  if constexpr (kSpec.scale == ScaleKind::kF16) return half_at(scales, row);
  return std::ldexp(1.0f, static_cast<std::uint8_t>(scales[row]) - 128);
}

// What each weight of block `b` of `row` has besides: of two levels, their product is taken off.
template <Encoding encoding>
inline float block_min(const PanelRegions& panel, std::int64_t b, int row) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kSuper) {
    return static_cast<float>(small_min<encoding>(panel, b, row)) *
           -super_min(panel, b * kSpec.block / kSuperBlock, row);
  }
  return half_at(mins_of<encoding>(panel, b), row);
}

}  // namespace
}  // namespace cria::spec

// The block encodings that have kernels of their own (kernel_form), for tables of templates.
#define CRIA_FOR_EACH_BLOCK_ENCODING(X) \
  X(kQ8)                                \
  X(kQ6)                                \
  X(kQ5)                                \
  X(kQ4)                                \
  X(kQ4Nl)                              \
  X(kMxfp4)                             \
  X(kQ3)                                \
  X(kQ4Min)                             \
  X(kQ5Min)                             \
  X(kQ2KMin)                            \
  X(kQ3K)                               \
  X(kQ4KMin)                            \
  X(kQ5KMin)                            \
  X(kQ6K)                               \
  X(kQ4NlK)                             \
  X(kQ2)                                \
  X(kQ2Min)                             \
  X(kQ3Min)                             \
  X(kQ8Min)                             \
  X(kE8P2G32)                           \
  X(kE8P3G32)                           \
  X(kE8P4G32)                           \
  X(kQ4S24)                             \
  X(kQ8S24)

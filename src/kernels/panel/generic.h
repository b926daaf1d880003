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

// A panel where it lies.
struct Panel {
  const std::byte* bytes;
  int scale_shift;  // PanelLayout's
};

inline Panel panel_at(const std::byte* bytes, const PanelLayout& layout) {
  return {bytes, layout.scale_shift};
}

// What a panel has for 32 columns. Encodings in blocks wider than these are read as if every column
// group had scales of its own.
struct Group {
  const std::uint8_t* codes;
  const std::byte* scales;  // of its first block, the others and the mins behind them
  const std::byte* supers;  // kSuper: the super scales, the super mins behind them
};

template <Encoding encoding>
inline Group group_at(const Panel& panel, std::int64_t g) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  const std::int64_t codes = kSpec.codes_offset(g, panel.scale_shift);
  const std::int64_t scales = kSpec.scales_offset(g, panel.scale_shift);
  const std::int64_t supers = kSpec.supers_offset(g);
  return {reinterpret_cast<const std::uint8_t*>(panel.bytes + codes), panel.bytes + scales,
          panel.bytes + supers};
}

// Column groups one after the other, of panels of one layout.
template <Encoding encoding>
class GroupWalk {
 public:
  GroupWalk(int scale_shift, std::int64_t first)
      : g_(first),
        unit_mask_((std::int64_t{1} << scale_shift) - 1),
        section_mask_((std::int64_t{1} << (scale_shift + kSpec.log_section_units())) - 1),
        codes_(kSpec.codes_offset(first, scale_shift)),
        scales_(kSpec.scales_offset(first, scale_shift)),
        supers_(kSpec.supers_offset(first)),
        begin_(kSpec.group_offset(first, scale_shift)) {}

  Group of(const std::byte* panel) const {
    return {reinterpret_cast<const std::uint8_t*>(panel + codes_), panel + scales_,
            panel + supers_};
  }

  // Where the lines begin that were not read before, and where they end: bytes from the panel's
  // start.
  std::int64_t begin() const { return begin_; }
  std::int64_t end() const { return codes_ + kSpec.group_bytes(); }

  void next() {
    ++g_;
    begin_ = end();
    codes_ += kSpec.group_bytes();
    if ((g_ & section_mask_) != 0) {
      if ((g_ & unit_mask_) == 0) scales_ += kSpec.unit_bytes();
    } else {
      scales_ = codes_;
      if constexpr (kSpec.scale == ScaleKind::kSuper) {
        if (g_ % kSpec.groups_per_super_line() == 0) scales_ += EncodingSpec::kPlaneBytes;
      }
      codes_ = scales_ + EncodingSpec::kPlaneBytes;
    }
    if constexpr (kSpec.scale == ScaleKind::kSuper) {
      if (g_ % kGroupsPerSuper == 0) supers_ = kSpec.supers_offset(g_);
    }
  }

 private:
  static constexpr EncodingSpec kSpec = encoding_spec(encoding);

  std::int64_t g_, unit_mask_, section_mask_;
  std::int64_t codes_, scales_, supers_, begin_;
};

// The scales of block `b` of a group, and its mins.
template <Encoding encoding>
inline const std::byte* scales_of(const Group& group, int b) {
  return group.scales + b * encoding_spec(encoding).scale_bytes();
}
template <Encoding encoding>
inline const std::byte* mins_of(const Group& group, int b) {
  return scales_of<encoding>(group, encoding_spec(encoding).unit_blocks() + b);
}
inline const std::byte* super_mins_of(const Group& group) { return group.supers + 2 * kPanelRows; }

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

// Two levels of scales (kSuper): the bytes of block `b` of `row`, and what 256 columns have.
template <Encoding encoding>
inline int small_scale(const Group& group, int b, int row) {
  return static_cast<std::int8_t>(scales_of<encoding>(group, b)[row]);
}
template <Encoding encoding>
inline int small_min(const Group& group, int b, int row) {
  return static_cast<std::uint8_t>(mins_of<encoding>(group, b)[row]);
}
inline float super_scale(const Group& group, int row) { return half_at(group.supers, row); }
inline float super_min(const Group& group, int row) { return half_at(super_mins_of(group), row); }

// The scale of block `b` of `row`: a half float, a power of two, or the product of the two levels,
// which a float holds exactly.
template <Encoding encoding>
inline float block_scale(const Group& group, int b, int row) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kSuper) {
    return static_cast<float>(small_scale<encoding>(group, b, row)) * super_scale(group, row);
  }
  const std::byte* scales = scales_of<encoding>(group, b);
  if constexpr (kSpec.scale == ScaleKind::kF16) return half_at(scales, row);
  return std::ldexp(1.0f, static_cast<std::uint8_t>(scales[row]) - 128);
}

// What each weight of block `b` of `row` has besides: of two levels, their product is taken off.
template <Encoding encoding>
inline float block_min(const Group& group, int b, int row) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kSuper) {
    return static_cast<float>(small_min<encoding>(group, b, row)) * -super_min(group, row);
  }
  return half_at(mins_of<encoding>(group, b), row);
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

// Unpacking panels with NEON. Internal linkage throughout, as in panel/generic.h.
//
// 64 bytes of a plane are four registers; each holds a quarter of the panel's rows: four rows of
// four columns. That is the operand of sdot as it stands, four columns of a row to a 32-bit lane.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/panel/generic.h"
#include "kernels/panel/unroll.h"

namespace cria::neon {
namespace {

inline constexpr int kQuads = kColumnGroup / 4;
inline constexpr int kQuarters = kPanelRows / 4;

// body<0>(), ..., body<n - 1>(): lanes and shifts are part of an instruction, so they have to be
// constants, which the counter of a loop is not.
template <int n, typename Body>
[[gnu::always_inline]] inline void unroll(const Body& body) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (body.template operator()<i>(), ...);
  }
  (std::make_integer_sequence<int, n>{});
}

inline uint8x16_t load_bytes(const void* at) {
  return vld1q_u8(static_cast<const std::uint8_t*>(at));
}

// Bits from `shift` on at the bottom of each byte. What lies above them stays: for vsli, which
// overwrites it.
template <int shift>
inline uint8x16_t drop_bits(uint8x16_t v) {
  if constexpr (shift == 0)
    return v;
  else
    return vshrq_n_u8(v, shift);
}

// The `bits` bits from `shift` on, alone.
template <int bits, int shift>
inline uint8x16_t bit_field(uint8x16_t v) {
  const uint8x16_t low = drop_bits<shift>(v);
  return shift + bits == 8 ? low : vandq_u8(low, vdupq_n_u8((1 << bits) - 1));
}

// The codes of one quad (4 columns) for rows 4 * quarter ..: byte 4 * row + j.
template <int bits, int quad>
inline uint8x16_t load_quad(const std::uint8_t* group, int quarter) {
  const std::uint8_t* at = group + 16 * quarter;
  if constexpr (bits == 8) {
    return load_bytes(at + 64 * quad);
  } else if constexpr (bits == 2) {
    return bit_field<2, 2 * (quad % 4)>(load_bytes(at + 64 * (quad / 4)));
  } else if constexpr (bits == 3) {
    const uint8x16_t low = drop_bits<2 * (quad % 4)>(load_bytes(at + 64 * (quad / 4)));
    return vsliq_n_u8(low, bit_field<1, quad>(load_bytes(at + 2 * 64)), 2);
  } else {
    const uint8x16_t plane = load_bytes(at + 64 * (quad / 2));
    if constexpr (bits == 4) return bit_field<4, 4 * (quad % 2)>(plane);
    const uint8x16_t low = drop_bits<4 * (quad % 2)>(plane);
    if constexpr (bits == 5) {
      return vsliq_n_u8(low, bit_field<1, quad>(load_bytes(at + 4 * 64)), 4);
    } else if constexpr (bits == 6) {
      const uint8x16_t high = load_bytes(at + 4 * 64 + 64 * (quad / 4));
      return vsliq_n_u8(low, bit_field<2, 2 * (quad % 4)>(high), 4);
    }
  }
}

// The values of a table codebook.
template <Encoding encoding>
inline int8x16_t load_table() {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.codebook == Codebook::kIq4Nl || kSpec.codebook == Codebook::kMxfp4) {
    return vld1q_s8(codebook_values(kSpec.codebook));
  }
  return vdupq_n_s8(0);
}

// What kSigned codes are above their values.
template <Encoding encoding>
inline constexpr int kCodeOffset = encoding_spec(encoding).codebook == Codebook::kSigned
                                       ? 1 << (encoding_spec(encoding).bits - 1)
                                       : 0;

// One quad as what its codes stand for.
template <Encoding encoding, int quad>
inline int8x16_t load_values(const std::uint8_t* group, int8x16_t table, int quarter) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.code_columns() > 1) {
    return vreinterpretq_s8_u8(load_bytes(group + 64 * quad + 16 * quarter));
  } else {
    const uint8x16_t codes = load_quad<kSpec.bits, quad>(group, quarter);
    if constexpr (kSpec.codebook == Codebook::kSigned) {
      return vreinterpretq_s8_u8(vsubq_u8(codes, vdupq_n_u8(kCodeOffset<encoding>)));
    } else if constexpr (kSpec.codebook == Codebook::kUnsigned) {
      return vreinterpretq_s8_u8(codes);
    } else {
      return vqtbl1q_s8(table, codes);
    }
  }
}

// Codes for several columns, expanded to a byte a weight: [quad][4 * row + j].
struct ExpandedGroup {
  alignas(64) std::uint8_t bytes[kQuads][64];
};

// Where the codes of a group are: in the panel, or expanded. In scalar code: correct, not fast.
template <Encoding encoding>
inline const std::uint8_t* group_codes(const spec::Group& group, ExpandedGroup& expanded) {
  if constexpr (encoding_spec(encoding).code_columns() > 1) {
    for (int row = 0; row < kPanelRows; ++row) {
      std::int8_t values[kColumnGroup];
      unpack_word_values(encoding, group.codes, row, values);
      for (int q = 0; q < kQuads; ++q) std::memcpy(expanded.bytes[q] + 4 * row, values + 4 * q, 4);
    }
    return expanded.bytes[0];
  } else {
    return group.codes;
  }
}

// Four half floats -> floats.
inline float32x4_t load_halves(const void* at) {
  uint16x4_t halves;
  std::memcpy(&halves, at, sizeof(halves));
  return vcvt_f32_f16(vreinterpret_f16_u16(halves));
}

// Four bytes -> 32 bits.
inline uint32x4_t load_unsigned(const std::byte* at) {
  std::uint32_t bytes;
  std::memcpy(&bytes, at, sizeof(bytes));
  return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes))));
}
inline int32x4_t load_signed(const std::byte* at) {
  std::uint32_t bytes;
  std::memcpy(&bytes, at, sizeof(bytes));
  return vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(bytes))));
}

// Four bytes e -> 2^(e - 128). The two smallest are subnormal: 2^-128 and 2^-127.
inline float32x4_t powers_of_two(const std::byte* at) {
  const uint32x4_t e = load_unsigned(at);
  const uint32x4_t normal = vshlq_n_u32(vsubq_u32(e, vdupq_n_u32(1)), 23);
  const uint32x4_t subnormal = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(e));
  return vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), subnormal, normal));
}

// Of rows 4 * quarter .., the super scale and min of a group.
inline float32x4_t load_super_scale(const spec::Group& group, int quarter) {
  return load_halves(group.supers + 8 * quarter);
}
inline float32x4_t load_super_min(const spec::Group& group, int quarter) {
  return load_halves(spec::super_mins_of(group) + 8 * quarter);
}

// The same of block `b`: spec::block_scale and block_min.
template <Encoding encoding>
inline float32x4_t load_scale(const spec::Group& group, int b, int quarter) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kF16) {
    return load_halves(spec::scales_of<encoding>(group, b) + 8 * quarter);
  } else if constexpr (kSpec.scale == ScaleKind::kE8M0) {
    return powers_of_two(spec::scales_of<encoding>(group, b) + 4 * quarter);
  } else {
    return vmulq_f32(vcvtq_f32_s32(load_signed(spec::scales_of<encoding>(group, b) + 4 * quarter)),
                     load_super_scale(group, quarter));
  }
}
template <Encoding encoding>
inline float32x4_t load_min(const spec::Group& group, int b, int quarter) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kF16) {
    return load_halves(spec::mins_of<encoding>(group, b) + 8 * quarter);
  } else {
    const float32x4_t super = load_super_min(group, quarter);
    return vmulq_f32(vcvtq_f32_u32(load_unsigned(spec::mins_of<encoding>(group, b) + 4 * quarter)),
                     vnegq_f32(super));
  }
}

}  // namespace
}  // namespace cria::neon

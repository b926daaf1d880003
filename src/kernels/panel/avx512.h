// Unpacking panels with AVX-512: a register is a plane, 16 rows of 4 columns. Internal linkage
// throughout, as in panel/generic.h.
#pragma once

#if defined(CRIA_EMULATE_AVX512)
#include "kernels/panel/avx512_emulation.h"
#define CRIA_AVX512VNNI_NAME(op) op##_avx512vnni_emulated
#else
#define CRIA_AVX512VNNI_NAME(op) op##_avx512vnni
#endif
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/panel/generic.h"
#include "kernels/panel/unroll.h"

namespace cria::avx512 {
namespace {

inline constexpr int kQuads = kColumnGroup / 4;

inline __m512i load_512(const void* at) { return _mm512_loadu_si512(at); }

// The same four bytes in every lane.
inline __m512i broadcast_32(const void* at) {
  int bits;
  std::memcpy(&bits, at, sizeof(bits));
  return _mm512_set1_epi32(bits);
}

// A table of 16 bytes in each quarter of a register, for vpshufb.
inline __m512i repeat_128(__m128i v) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_broadcastsi128_si256(v)),
                            _mm256_broadcastsi128_si256(v), 1);
}

// Bytes of `v` moved right by `n` bits (left if negative); what crosses a byte is masked by
// callers.
inline __m512i shift_bits(__m512i v, int n) {
  return n >= 0 ? _mm512_srli_epi16(v, static_cast<unsigned>(n))
                : _mm512_slli_epi16(v, static_cast<unsigned>(-n));
}

inline __m512i mask_bytes(__m512i v, int mask) {
  return _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>(mask)));
}

// The codes of one quad (4 columns) for all 16 rows: byte 4 * row + j.
template <int bits>
inline __m512i load_quad(const std::uint8_t* group, int quad) {
  if constexpr (bits == 8) {
    return load_512(group + 64 * quad);
  } else if constexpr (bits == 2 || bits == 3) {
    const __m512i low =
        mask_bytes(shift_bits(load_512(group + 64 * (quad / 4)), 2 * (quad % 4)), 3);
    if constexpr (bits == 2) return low;
    return _mm512_or_si512(low, mask_bytes(shift_bits(load_512(group + 2 * 64), quad - 2), 4));
  } else {
    const __m512i low =
        mask_bytes(shift_bits(load_512(group + 64 * (quad / 2)), 4 * (quad % 2)), 15);
    if constexpr (bits == 4) return low;
    if constexpr (bits == 5) {
      const __m512i high = shift_bits(load_512(group + 4 * 64), quad - 4);
      return _mm512_or_si512(low, mask_bytes(high, 0x10));
    }
    const __m512i high = shift_bits(load_512(group + 4 * 64 + 64 * (quad / 4)), 2 * (quad % 4) - 4);
    return _mm512_or_si512(low, mask_bytes(high, 0x30));
  }
}

// Sixteen half floats -> floats; sixteen bytes -> integers.
inline __m512 load_halves(const void* at) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(at)));
}
inline __m512i load_signed(const void* at) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(at)));
}
inline __m512i load_unsigned(const void* at) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(at)));
}

// Sixteen bytes e -> 2^(e - 128). The two smallest are subnormal: 2^-128 and 2^-127.
inline __m512 powers_of_two(const void* at) {
  const __m512i e = load_unsigned(at);
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
  const __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
  const __mmask16 is_normal = _mm512_cmpgt_epi32_mask(e, _mm512_set1_epi32(1));
  return _mm512_castsi512_ps(_mm512_mask_blend_epi32(is_normal, subnormal, normal));
}

// Of the 16 rows, the super scale and min of a group.
inline __m512 load_super_scale(const spec::Group& group) { return load_halves(group.supers); }
inline __m512 load_super_min(const spec::Group& group) {
  return load_halves(spec::super_mins_of(group));
}

// The same of block `b`: spec::block_scale and block_min.
template <Encoding encoding>
inline __m512 load_scale(const spec::Group& group, int b) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kF16) {
    return load_halves(spec::scales_of<encoding>(group, b));
  } else if constexpr (kSpec.scale == ScaleKind::kE8M0) {
    return powers_of_two(spec::scales_of<encoding>(group, b));
  } else {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(load_signed(spec::scales_of<encoding>(group, b))),
                         load_super_scale(group));
  }
}
template <Encoding encoding>
inline __m512 load_min(const spec::Group& group, int b) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kF16) {
    return load_halves(spec::mins_of<encoding>(group, b));
  } else {
    const __m512 super = load_super_min(group);
    return _mm512_mul_ps(_mm512_cvtepi32_ps(load_unsigned(spec::mins_of<encoding>(group, b))),
                         _mm512_sub_ps(_mm512_set1_ps(-0.0f), super));
  }
}

}  // namespace
}  // namespace cria::avx512

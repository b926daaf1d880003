// Unpacking panels with AVX2. Internal linkage throughout, as in panel/generic.h.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/panel/generic.h"
#include "kernels/panel/unroll.h"

namespace cria::avx2 {
namespace {

inline constexpr int kQuads = kColumnGroup / 4;

inline __m256i load_256(const void* at) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}
inline __m128i load_128(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }

// Bytes of `v` moved right by `n` bits (left if negative); what crosses a byte is masked by
// callers.
inline __m256i shift_bits(__m256i v, int n) {
  return n >= 0 ? _mm256_srli_epi16(v, n) : _mm256_slli_epi16(v, -n);
}

// Keeps a running sum in its register. Compilers otherwise turn the chain of additions of an
// unrolled loop into a tree, which needs all its leaves at once: measured, half of the speed goes
// into spills.
inline void keep(__m256i& v) { asm("" : "+x"(v)); }

// The codes of one quad (4 columns) for rows 8 * half .. 8 * half + 7: byte 4 * row + j.
template <int bits>
inline __m256i load_quad(const std::uint8_t* group, int quad, int half) {
  const std::uint8_t* at = group + 32 * half;
  if constexpr (bits == 8) {
    return load_256(at + 64 * quad);
  } else if constexpr (bits == 2 || bits == 3) {
    const __m256i low = _mm256_and_si256(shift_bits(load_256(at + 64 * (quad / 4)), 2 * (quad % 4)),
                                         _mm256_set1_epi8(3));
    if constexpr (bits == 2) return low;
    const __m256i high = shift_bits(load_256(at + 2 * 64), quad - 2);
    return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(4)));
  } else {
    const __m256i low = _mm256_and_si256(shift_bits(load_256(at + 64 * (quad / 2)), 4 * (quad % 2)),
                                         _mm256_set1_epi8(15));
    if constexpr (bits == 4) return low;
    if constexpr (bits == 5) {
      const __m256i high = shift_bits(load_256(at + 4 * 64), quad - 4);
      return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(0x10)));
    }
    const __m256i high = shift_bits(load_256(at + 4 * 64 + 64 * (quad / 4)), 2 * (quad % 4) - 4);
    return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
  }
}

// Eight half floats -> floats; eight bytes -> integers.
inline __m256 load_halves(const void* at) { return _mm256_cvtph_ps(load_128(at)); }
inline __m256i load_signed(const void* at) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(at)));
}
inline __m256i load_unsigned(const void* at) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(at)));
}

// Eight bytes e -> 2^(e - 128). The two smallest are subnormal: 2^-128 and 2^-127.
inline __m256 powers_of_two(const void* at) {
  const __m256i e = load_unsigned(at);
  const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
  const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
  const __m256i is_subnormal = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, is_subnormal));
}

// Of rows 8 * half .., the super scale and min of a group.
inline __m256 load_super_scale(const spec::Group& group, int half) {
  return load_halves(group.supers + 16 * half);
}
inline __m256 load_super_min(const spec::Group& group, int half) {
  return load_halves(spec::super_mins_of(group) + 16 * half);
}

// The same of block `b`: spec::block_scale and block_min.
template <Encoding encoding>
inline __m256 load_scale(const spec::Group& group, int b, int half) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kF16) {
    return load_halves(spec::scales_of<encoding>(group, b) + 16 * half);
  } else if constexpr (kSpec.scale == ScaleKind::kE8M0) {
    return powers_of_two(spec::scales_of<encoding>(group, b) + 8 * half);
  } else {
    return _mm256_mul_ps(
        _mm256_cvtepi32_ps(load_signed(spec::scales_of<encoding>(group, b) + 8 * half)),
        load_super_scale(group, half));
  }
}
template <Encoding encoding>
inline __m256 load_min(const spec::Group& group, int b, int half) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.scale == ScaleKind::kF16) {
    return load_halves(spec::mins_of<encoding>(group, b) + 16 * half);
  } else {
    const __m256 super = load_super_min(group, half);
    return _mm256_mul_ps(
        _mm256_cvtepi32_ps(load_unsigned(spec::mins_of<encoding>(group, b) + 8 * half)),
        _mm256_xor_ps(super, _mm256_set1_ps(-0.0f)));
  }
}

}  // namespace
}  // namespace cria::avx2

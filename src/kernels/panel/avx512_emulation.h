// AVX-512 on processors without it, for tests: each intrinsic that the kernels use, as two of AVX2.
// (SIMDe would do, but a file of kernels then takes minutes to compile.)
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace cria::avx512 {
namespace {

struct Ints {
  __m256i half[2];
};
struct Floats {
  __m256 half[2];
};

inline Ints pair_of(__m256i low, __m256i high) { return {{low, high}}; }
inline Floats pair_of(__m256 low, __m256 high) { return {{low, high}}; }

template <typename Op, typename... Vectors>
inline auto each(Op op, const Vectors&... v) {
  return pair_of(op(v.half[0]...), op(v.half[1]...));
}

inline Ints loadu_si512(const void* at) {
  const auto* halves = static_cast<const __m256i*>(at);
  return {{_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)}};
}
inline void storeu_si512(void* at, const Ints& v) {
  auto* halves = static_cast<__m256i*>(at);
  for (int i = 0; i < 2; ++i) _mm256_storeu_si256(halves + i, v.half[i]);
}
inline Floats loadu_ps(const float* at) { return {{_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8)}}; }
inline void storeu_ps(float* at, const Floats& v) {
  for (int i = 0; i < 2; ++i) _mm256_storeu_ps(at + 8 * i, v.half[i]);
}

inline Ints set1_epi8(char x) { return {{_mm256_set1_epi8(x), _mm256_set1_epi8(x)}}; }
inline Ints set1_epi16(short x) { return {{_mm256_set1_epi16(x), _mm256_set1_epi16(x)}}; }
inline Ints set1_epi32(int x) { return {{_mm256_set1_epi32(x), _mm256_set1_epi32(x)}}; }
inline Floats set1_ps(float x) { return {{_mm256_set1_ps(x), _mm256_set1_ps(x)}}; }

inline Ints broadcastw_epi16(__m128i v) {
  return {{_mm256_broadcastw_epi16(v), _mm256_broadcastw_epi16(v)}};
}
inline Ints castsi256_si512(__m256i low) { return {{low, _mm256_setzero_si256()}}; }
inline Ints inserti64x4(Ints v, __m256i part, int at) {
  v.half[at] = part;
  return v;
}
inline Floats castsi512_ps(const Ints& v) {
  return each([](__m256i x) { return _mm256_castsi256_ps(x); }, v);
}
inline Ints castps_si512(const Floats& v) {
  return each([](__m256 x) { return _mm256_castps_si256(x); }, v);
}
inline Floats broadcast_f32x8(__m256 v) { return {{v, v}}; }
inline Floats shuffle_ps(const Floats& a, const Floats& b, int order) {
  float x[16], y[16], to[16];
  storeu_ps(x, a);
  storeu_ps(y, b);
  for (int i = 0; i < 16; ++i) {
    const float* from = i % 4 < 2 ? x : y;
    to[i] = from[i / 4 * 4 + (order >> 2 * (i % 4) & 3)];
  }
  return loadu_ps(to);
}
inline Floats shuffle_f32x4(const Floats& a, const Floats& b, int order) {
  float x[16], y[16], to[16];
  storeu_ps(x, a);
  storeu_ps(y, b);
  for (int i = 0; i < 16; ++i) {
    const float* from = i < 8 ? x : y;
    to[i] = from[4 * (order >> 2 * (i / 4) & 3) + i % 4];
  }
  return loadu_ps(to);
}
inline __m256 castps512_ps256(const Floats& v) { return v.half[0]; }
inline __m256 extractf32x8_ps(const Floats& v, int at) { return v.half[at]; }

inline Ints and_si512(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_and_si256(x, y); }, a, b);
}
inline Ints or_si512(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_or_si256(x, y); }, a, b);
}
inline Ints srli_epi16(const Ints& v, unsigned n) {
  return each([n](__m256i x) { return _mm256_srli_epi16(x, static_cast<int>(n)); }, v);
}
inline Ints slli_epi16(const Ints& v, unsigned n) {
  return each([n](__m256i x) { return _mm256_slli_epi16(x, static_cast<int>(n)); }, v);
}
inline Ints slli_epi32(const Ints& v, unsigned n) {
  return each([n](__m256i x) { return _mm256_slli_epi32(x, static_cast<int>(n)); }, v);
}
inline Ints srli_epi32(const Ints& v, unsigned n) {
  return each([n](__m256i x) { return _mm256_srli_epi32(x, static_cast<int>(n)); }, v);
}
inline Ints srai_epi32(const Ints& v, unsigned n) {
  return each([n](__m256i x) { return _mm256_srai_epi32(x, static_cast<int>(n)); }, v);
}
inline Ints sllv_epi32(const Ints& v, const Ints& n) {
  return each([](__m256i x, __m256i y) { return _mm256_sllv_epi32(x, y); }, v, n);
}
inline Ints shuffle_epi8(const Ints& v, const Ints& at) {
  return each([](__m256i x, __m256i y) { return _mm256_shuffle_epi8(x, y); }, v, at);
}

// Each quarter of a register by itself, as the halves of AVX2.
inline Ints packus_epi32(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_packus_epi32(x, y); }, a, b);
}
inline Ints packus_epi16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_packus_epi16(x, y); }, a, b);
}
inline Ints packs_epi32(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_packs_epi32(x, y); }, a, b);
}
inline Ints packs_epi16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_packs_epi16(x, y); }, a, b);
}
inline Ints permutexvar_epi8(const Ints& at, const Ints& v) {
  std::uint8_t from[64], index[64], to[64];
  storeu_si512(from, v);
  storeu_si512(index, at);
  for (int i = 0; i < 64; ++i) to[i] = from[index[i] % 64];
  return loadu_si512(to);
}
inline Ints permutex2var_epi32(const Ints& a, const Ints& at, const Ints& b) {
  std::uint32_t from[32], index[16], to[16];
  storeu_si512(from, a);
  storeu_si512(from + 16, b);
  storeu_si512(index, at);
  for (int i = 0; i < 16; ++i) to[i] = from[index[i] % 32];
  return loadu_si512(to);
}

inline Ints add_epi32(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_add_epi32(x, y); }, a, b);
}
inline Ints sub_epi32(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_sub_epi32(x, y); }, a, b);
}
inline Ints sub_epi8(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_sub_epi8(x, y); }, a, b);
}
inline Ints add_epi16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_add_epi16(x, y); }, a, b);
}
inline Ints adds_epi16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_adds_epi16(x, y); }, a, b);
}
inline Ints sub_epi16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_sub_epi16(x, y); }, a, b);
}
inline Ints max_epi16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_max_epi16(x, y); }, a, b);
}
inline Ints max_epu32(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_max_epu32(x, y); }, a, b);
}
inline Ints avg_epu16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_avg_epu16(x, y); }, a, b);
}
inline Ints mulhi_epu16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_mulhi_epu16(x, y); }, a, b);
}
inline Ints mulhrs_epi16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_mulhrs_epi16(x, y); }, a, b);
}
inline Ints srlv_epi16(const Ints& v, const Ints& n) {
  std::uint16_t x[32], shift[32];
  storeu_si512(x, v);
  storeu_si512(shift, n);
  for (int i = 0; i < 32; ++i)
    x[i] = shift[i] < 16 ? static_cast<std::uint16_t>(x[i] >> shift[i]) : std::uint16_t{0};
  return loadu_si512(x);
}
inline Ints dpwssd_epi32(const Ints& sum, const Ints& a, const Ints& b) {
  return each([](__m256i acc, __m256i x,
                 __m256i y) { return _mm256_add_epi32(acc, _mm256_madd_epi16(x, y)); },
              sum, a, b);
}
inline Ints madd_epi16(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_madd_epi16(x, y); }, a, b);
}
inline Ints mullo_epi32(const Ints& a, const Ints& b) {
  return each([](__m256i x, __m256i y) { return _mm256_mullo_epi32(x, y); }, a, b);
}

// Sums of four products of unsigned and signed bytes: even and odd bytes apart, in 16 bits.
inline Ints dpbusd_epi32(const Ints& sum, const Ints& u, const Ints& s) {
  return each(
      [](__m256i acc, __m256i a, __m256i b) {
        const __m256i even = _mm256_madd_epi16(_mm256_and_si256(a, _mm256_set1_epi16(255)),
                                               _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
        const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
        return _mm256_add_epi32(acc, _mm256_add_epi32(even, odd));
      },
      sum, u, s);
}

inline std::uint16_t cmpgt_epi32_mask(const Ints& a, const Ints& b) {
  unsigned mask = 0;
  for (int i = 0; i < 2; ++i) {
    const __m256i greater = _mm256_cmpgt_epi32(a.half[i], b.half[i]);
    mask |= static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(greater))) << 8 * i;
  }
  return static_cast<std::uint16_t>(mask);
}
inline Ints mask_blend_epi32(std::uint16_t mask, const Ints& zero, const Ints& one) {
  std::uint32_t a[16], b[16];
  storeu_si512(a, zero);
  storeu_si512(b, one);
  for (int i = 0; i < 16; ++i) a[i] = (mask >> i & 1) != 0 ? b[i] : a[i];
  return loadu_si512(a);
}

template <int predicate>
inline std::uint16_t cmp_ps_mask(const Floats& a, const Floats& b) {
  unsigned mask = 0;
  for (int i = 0; i < 2; ++i) {
    const __m256 holds = _mm256_cmp_ps(a.half[i], b.half[i], predicate);
    mask |= static_cast<unsigned>(_mm256_movemask_ps(holds)) << 8 * i;
  }
  return static_cast<std::uint16_t>(mask);
}
inline Floats mask_blend_ps(std::uint16_t mask, const Floats& zero, const Floats& one) {
  return castsi512_ps(mask_blend_epi32(mask, castps_si512(zero), castps_si512(one)));
}

inline Floats mul_ps(const Floats& a, const Floats& b) {
  return each([](__m256 x, __m256 y) { return _mm256_mul_ps(x, y); }, a, b);
}
// To nearest even; `how` says nothing else.
inline Floats reduce_ps(const Floats& v, int) {
  return each([](__m256 x) { return _mm256_sub_ps(x, _mm256_round_ps(x, 8)); }, v);
}
// For integers n whose power of two is no subnormal.
inline Floats maskz_scalef_ps(std::uint16_t mask, const Floats& x, const Floats& n) {
  float v[16], powers[16];
  storeu_ps(v, x);
  storeu_ps(powers, n);
  for (int i = 0; i < 16; ++i)
    v[i] = (mask >> i & 1) != 0 ? std::ldexp(v[i], static_cast<int>(powers[i])) : 0.0f;
  return loadu_ps(v);
}
inline Floats div_ps(const Floats& a, const Floats& b) {
  return each([](__m256 x, __m256 y) { return _mm256_div_ps(x, y); }, a, b);
}
inline Floats add_ps(const Floats& a, const Floats& b) {
  return each([](__m256 x, __m256 y) { return _mm256_add_ps(x, y); }, a, b);
}
inline Floats sub_ps(const Floats& a, const Floats& b) {
  return each([](__m256 x, __m256 y) { return _mm256_sub_ps(x, y); }, a, b);
}
inline Floats max_ps(const Floats& a, const Floats& b) {
  return each([](__m256 x, __m256 y) { return _mm256_max_ps(x, y); }, a, b);
}
inline Floats fmadd_ps(const Floats& a, const Floats& b, const Floats& c) {
  return each([](__m256 x, __m256 y, __m256 z) { return _mm256_fmadd_ps(x, y, z); }, a, b, c);
}
inline Floats fnmadd_ps(const Floats& a, const Floats& b, const Floats& c) {
  return each([](__m256 x, __m256 y, __m256 z) { return _mm256_fnmadd_ps(x, y, z); }, a, b, c);
}

inline Ints cvtps_epi32(const Floats& v) {
  return each([](__m256 x) { return _mm256_cvtps_epi32(x); }, v);
}
inline Floats cvtepi32_ps(const Ints& v) {
  return each([](__m256i x) { return _mm256_cvtepi32_ps(x); }, v);
}
inline Floats cvtph_ps(__m256i halves) {
  return {{_mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
           _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))}};
}
inline Ints cvtepi8_epi32(__m128i bytes) {
  return {{_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))}};
}
inline Ints cvtepu16_epi32(__m256i words) {
  return {{_mm256_cvtepu16_epi32(_mm256_castsi256_si128(words)),
           _mm256_cvtepu16_epi32(_mm256_extracti128_si256(words, 1))}};
}
inline Ints cvtepu8_epi32(__m128i bytes) {
  return {{_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes))}};
}

}  // namespace
}  // namespace cria::avx512

// Macros already without optimization.
#undef _mm512_inserti64x4
#undef _mm512_shuffle_ps
#undef _mm512_shuffle_f32x4
#undef _mm512_srli_epi16
#undef _mm512_slli_epi16
#undef _mm512_slli_epi32
#undef _mm512_srai_epi32
#undef _mm512_srli_epi32
#undef _mm512_cmpgt_epi32_mask
#undef _mm512_cmp_ps_mask
#undef _mm512_reduce_ps
#undef _mm512_extractf32x8_ps

#define __m512i cria::avx512::Ints
#define __m512 cria::avx512::Floats
#define __mmask16 std::uint16_t
#define __mmask64 std::uint64_t
#define _mm512_loadu_si512 cria::avx512::loadu_si512
#define _mm512_storeu_si512 cria::avx512::storeu_si512
#define _mm512_loadu_ps cria::avx512::loadu_ps
#define _mm512_storeu_ps cria::avx512::storeu_ps
#define _mm512_stream_ps cria::avx512::storeu_ps
#define _mm512_set1_epi8 cria::avx512::set1_epi8
#define _mm512_set1_epi16 cria::avx512::set1_epi16
#define _mm512_set1_epi32 cria::avx512::set1_epi32
#define _mm512_set1_ps cria::avx512::set1_ps
#define _mm512_setzero_si512() cria::avx512::set1_epi32(0)
#define _mm512_setzero_ps() cria::avx512::set1_ps(0.0f)
#define _mm512_broadcastw_epi16 cria::avx512::broadcastw_epi16
#define _mm512_castsi256_si512 cria::avx512::castsi256_si512
#define _mm512_inserti64x4 cria::avx512::inserti64x4
#define _mm512_castsi512_ps cria::avx512::castsi512_ps
#define _mm512_castps_si512 cria::avx512::castps_si512
#define _mm512_broadcast_f32x8 cria::avx512::broadcast_f32x8
#define _mm512_shuffle_ps cria::avx512::shuffle_ps
#define _mm512_shuffle_f32x4 cria::avx512::shuffle_f32x4
#define _mm512_castps512_ps256 cria::avx512::castps512_ps256
#define _mm512_extractf32x8_ps cria::avx512::extractf32x8_ps
#define _mm512_and_si512 cria::avx512::and_si512
#define _mm512_or_si512 cria::avx512::or_si512
#define _mm512_srli_epi16 cria::avx512::srli_epi16
#define _mm512_slli_epi16 cria::avx512::slli_epi16
#define _mm512_slli_epi32 cria::avx512::slli_epi32
#define _mm512_srli_epi32 cria::avx512::srli_epi32
#define _mm512_srai_epi32 cria::avx512::srai_epi32
#define _mm512_sllv_epi32 cria::avx512::sllv_epi32
#define _mm512_shuffle_epi8 cria::avx512::shuffle_epi8
#define _mm512_packus_epi32 cria::avx512::packus_epi32
#define _mm512_packus_epi16 cria::avx512::packus_epi16
#define _mm512_packs_epi32 cria::avx512::packs_epi32
#define _mm512_packs_epi16 cria::avx512::packs_epi16
#define _mm512_permutex2var_epi32 cria::avx512::permutex2var_epi32
#define _mm512_permutexvar_epi8 cria::avx512::permutexvar_epi8
#define _mm512_add_epi32 cria::avx512::add_epi32
#define _mm512_sub_epi32 cria::avx512::sub_epi32
#define _mm512_sub_epi8 cria::avx512::sub_epi8
#define _mm512_add_epi16 cria::avx512::add_epi16
#define _mm512_adds_epi16 cria::avx512::adds_epi16
#define _mm512_sub_epi16 cria::avx512::sub_epi16
#define _mm512_max_epi16 cria::avx512::max_epi16
#define _mm512_max_epu32 cria::avx512::max_epu32
#define _mm512_avg_epu16 cria::avx512::avg_epu16
#define _mm512_mulhi_epu16 cria::avx512::mulhi_epu16
#define _mm512_mulhrs_epi16 cria::avx512::mulhrs_epi16
#define _mm512_srlv_epi16 cria::avx512::srlv_epi16
#define _mm512_dpwssd_epi32 cria::avx512::dpwssd_epi32
#define _mm512_madd_epi16 cria::avx512::madd_epi16
#define _mm512_mullo_epi32 cria::avx512::mullo_epi32
#define _mm512_dpbusd_epi32 cria::avx512::dpbusd_epi32
#define _mm512_cmpgt_epi32_mask cria::avx512::cmpgt_epi32_mask
#define _mm512_mask_blend_epi32 cria::avx512::mask_blend_epi32
#define _mm512_cmp_ps_mask(a, b, predicate) cria::avx512::cmp_ps_mask<predicate>(a, b)
#define _mm512_mask_blend_ps cria::avx512::mask_blend_ps
#define _mm512_reduce_ps cria::avx512::reduce_ps
#define _mm512_maskz_scalef_ps cria::avx512::maskz_scalef_ps
#define _mm512_mul_ps cria::avx512::mul_ps
#define _mm512_div_ps cria::avx512::div_ps
#define _mm512_add_ps cria::avx512::add_ps
#define _mm512_sub_ps cria::avx512::sub_ps
#define _mm512_max_ps cria::avx512::max_ps
#define _mm512_fmadd_ps cria::avx512::fmadd_ps
#define _mm512_fnmadd_ps cria::avx512::fnmadd_ps
#define _mm512_cvtps_epi32 cria::avx512::cvtps_epi32
#define _mm512_cvtepi32_ps cria::avx512::cvtepi32_ps
#define _mm512_cvtph_ps cria::avx512::cvtph_ps
#define _mm512_cvtepi8_epi32 cria::avx512::cvtepi8_epi32
#define _mm512_cvtepu8_epi32 cria::avx512::cvtepu8_epi32
#define _mm512_cvtepu16_epi32 cria::avx512::cvtepu16_epi32

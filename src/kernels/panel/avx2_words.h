// Unpacking codes for several columns with AVX2: E8P and pairs. They are expanded a group at a time
// to one byte a weight, where planes of 8 bits would lie.
#pragma once

#include "kernels/panel/avx2.h"
#include "tensor/e8p.h"

namespace cria::avx2 {
namespace {

// The weights of one group, plus an offset: [quad][4 * row + j].
struct ExpandedGroup {
  alignas(64) std::uint8_t bytes[kQuads][64];
};

// Eight rows' byte `at` of their 32 bits, four times each.
inline __m256i spread_byte(__m256i v, int at) {
  const __m256i rows = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404,
                                         0x08080808, 0x0c0c0c0c);
  return _mm256_shuffle_epi8(v, _mm256_add_epi8(rows, _mm256_set1_epi8(static_cast<char>(at))));
}

// --- E8P -----------------------------------------------------------------------------------------

// What the codes of eight rows say about all columns: per row, one byte an octet.
struct E8pSigns {
  __m256i minus;  // bit i: coordinate i is negative
  __m256i shift;  // 1 or -1, in quarters
};

inline E8pSigns e8p_signs(const std::uint8_t* numbers, const std::uint8_t* signs) {
  const __m256i code = load_256(signs);
  const __m256i odd_numbers = _mm256_set1_epi8(static_cast<char>(kE8pFirstOdd));
  const __m256i number = load_256(numbers);
  const __m256i is_odd = _mm256_cmpeq_epi8(_mm256_max_epu8(number, odd_numbers), number);
  // The parity of seven bits, at the top: of the low four, and of the other three.
  const __m256i parity =
      _mm256_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0, 0,
                       -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0);
  const __m256i low = _mm256_and_si256(code, _mm256_set1_epi8(15));
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(code, 4), _mm256_set1_epi8(7));
  const __m256i top = _mm256_xor_si256(
      _mm256_xor_si256(_mm256_shuffle_epi8(parity, low), _mm256_shuffle_epi8(parity, high)),
      is_odd);
  const __m256i mask = _mm256_set1_epi8(-128);
  E8pSigns out;
  out.minus = _mm256_or_si256(_mm256_andnot_si256(mask, code), _mm256_and_si256(top, mask));
  const __m256i plus = _mm256_cmpgt_epi8(_mm256_setzero_si256(), code);
  out.shift = _mm256_or_si256(_mm256_set1_epi8(1), _mm256_xor_si256(plus, _mm256_set1_epi8(-1)));
  return out;
}

// Eight bytes from each of eight rows, by a table of 256: those of quad 0 and of quad 1.
struct QuadPair {
  __m256i quad[2];
};

template <typename Entry>
inline QuadPair look_up(const Entry* table, const std::uint8_t* numbers) {
  const auto two = [&](int row) {
    const auto entry = [&](int r) {
      return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(table[numbers[4 * r]]));
    };
    return _mm_unpacklo_epi64(entry(row), entry(row + 1));
  };
  const __m256 even = _mm256_castsi256_ps(_mm256_set_m128i(two(4), two(0)));
  const __m256 odd = _mm256_castsi256_ps(_mm256_set_m128i(two(6), two(2)));
  return {{_mm256_castps_si256(_mm256_shuffle_ps(even, odd, 0x88)),
           _mm256_castps_si256(_mm256_shuffle_ps(even, odd, 0xdd))}};
}

// Quads 2 o and 2 o + 1 of a stage of 2 bits, in quarters. `numbers` of the first of eight rows.
inline QuadPair e8p_stage(const std::uint8_t* numbers, const E8pSigns& signs, int o) {
  QuadPair out = look_up(e8p_vectors().data(), numbers + o);
  const __m256i minus = spread_byte(signs.minus, o);
  const __m256i shift = spread_byte(signs.shift, o);
  for (int q = 0; q < 2; ++q) {
    const __m256i bits = _mm256_set1_epi32(q == 0 ? 0x08040201 : static_cast<int>(0x80402010u));
    const __m256i negative = _mm256_cmpeq_epi8(_mm256_and_si256(minus, bits), bits);
    const __m256i value = _mm256_sub_epi8(_mm256_xor_si256(out.quad[q], negative), negative);
    out.quad[q] = _mm256_add_epi8(value, shift);
  }
  return out;
}

template <int bits>
inline void expand_e8p(const std::uint8_t* group, int offset, ExpandedGroup& out) {
  const __m256i add = _mm256_set1_epi8(static_cast<char>(offset));
  for (int h = 0; h < 2; ++h) {
    const std::uint8_t* at = group + 32 * h;
    const E8pSigns first = e8p_signs(at, at + 64);
    E8pSigns second = {};
    if constexpr (bits == 4) second = e8p_signs(at + 128, at + 192);
    CRIA_UNROLL
    for (int o = 0; o < kQuads / 2; ++o) {
      QuadPair sum = e8p_stage(at, first, o);
      QuadPair rest = {};
      if constexpr (bits == 3) rest = look_up(e8_points().data(), at + 128 + o);
      if constexpr (bits == 4) rest = e8p_stage(at + 128, second, o);
      for (int q = 0; q < 2; ++q) {
        if constexpr (bits == 4) {
          sum.quad[q] = _mm256_add_epi8(sum.quad[q], sum.quad[q]);
          sum.quad[q] = _mm256_add_epi8(sum.quad[q], sum.quad[q]);
        }
        if constexpr (bits > 2) sum.quad[q] = _mm256_add_epi8(sum.quad[q], rest.quad[q]);
        _mm256_store_si256(reinterpret_cast<__m256i*>(out.bytes[2 * o + q] + 32 * h),
                           _mm256_add_epi8(sum.quad[q], add));
      }
    }
  }
}

// --- pairs ---------------------------------------------------------------------------------------

template <int bits>
inline void expand_pairs(const std::uint8_t* group, int offset, ExpandedGroup& out) {
  const __m256i columns = _mm256_set1_epi32(0x03020100), three = _mm256_set1_epi8(3);
  const __m256i low_nibble = _mm256_set1_epi8(15);
  const __m256i zero = _mm256_set1_epi8(static_cast<char>(offset));
  // From code to value plus offset.
  const __m256i add = _mm256_set1_epi8(static_cast<char>(offset - (bits == 3 ? 8 : 128)));
  for (int h = 0; h < 2; ++h) {
    const __m256i places = load_256(group + (bits - 1) * 64 + 32 * h);
    for (int half = 0; half < 2; ++half) {  // quads 0 to 3, 4 to 7
      __m256i a = load_256(group + 64 * half + 32 * h), b;
      if constexpr (bits == 3) {
        b = _mm256_and_si256(_mm256_srli_epi16(a, 4), low_nibble);
        a = _mm256_and_si256(a, low_nibble);
      } else {
        b = load_256(group + 64 * (2 + half) + 32 * h);
      }
      a = _mm256_add_epi8(a, add);
      b = _mm256_add_epi8(b, add);
      const __m256i at = half == 0 ? places : _mm256_srli_epi16(places, 4);
      const __m256i at_a = _mm256_and_si256(at, three);
      const __m256i at_b = _mm256_and_si256(_mm256_srli_epi16(at, 2), three);
      CRIA_UNROLL
      for (int q = 0; q < 4; ++q) {
        const __m256i is_a = _mm256_cmpeq_epi8(spread_byte(at_a, q), columns);
        const __m256i is_b = _mm256_cmpeq_epi8(spread_byte(at_b, q), columns);
        const __m256i value = _mm256_blendv_epi8(_mm256_blendv_epi8(zero, spread_byte(a, q), is_a),
                                                 spread_byte(b, q), is_b);
        _mm256_store_si256(reinterpret_cast<__m256i*>(out.bytes[4 * half + q] + 32 * h), value);
      }
    }
  }
}

// --- both ----------------------------------------------------------------------------------------

template <Encoding encoding>
inline constexpr bool kExpands = encoding_spec(encoding).code_columns() > 1;

// Where the codes of a group are: in the panel, or expanded, each weight plus `offset`.
template <Encoding encoding>
inline const std::uint8_t* group_codes(const spec::Group& group, int offset,
                                       ExpandedGroup& expanded) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.codebook == Codebook::kE8P) {
    expand_e8p<kSpec.bits>(group.codes, offset, expanded);
    return expanded.bytes[0];
  } else if constexpr (kSpec.codebook == Codebook::kPairs) {
    expand_pairs<kSpec.bits>(group.codes, offset, expanded);
    return expanded.bytes[0];
  } else {
    return group.codes;
  }
}

// Bits a code has there.
template <Encoding encoding>
inline constexpr int kGroupBits = kExpands<encoding> ? 8 : encoding_spec(encoding).bits;

}  // namespace
}  // namespace cria::avx2

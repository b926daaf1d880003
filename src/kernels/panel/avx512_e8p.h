// Expanding E8P with VBMI and GFNI: 64 octets (a group of 16 rows) at a time, without gathers.
// Results equal those of avx2_words.h.
//
// A coordinate is one of 16 values: |a| is 2, 6 or 10 quarters (two bits, d), times a sign, plus 1
// or -1. The two bits of the 256 vectors are tables of 256 bytes, four coordinates a byte
// (vpermi2b). Bits are brought from tables and codes to nibbles
//
//   bits 0, 1  d      bit 2  minus      bit 3  plus 1
//
// by matrices over GF(2) (vgf2p8affineqb), which the sign of the last coordinate is linear in, too:
// the parity of the seven others, and of the number of 3/2 in the vector (the low bits of d).
// vpermb makes values of nibbles: of a coordinate of all octets at once, which is the least work,
// or of a quad, for whose bytes vpmultishiftqb takes a nibble each.
#pragma once

#include <array>

#include "kernels/panel/avx2_words.h"
#include "kernels/panel/avx512_vbmi.h"

#if !defined(CRIA_EMULATE_AVX512)

namespace cria::avx512 {
namespace {

struct E8pTables {
  alignas(64) std::uint8_t digits[2][256];  // of coordinates 0 to 3, 4 to 7: two bits each
  alignas(64) std::uint8_t points[4][128];  // 1-bit stage: 4 more than coordinates 2 p and 2 p + 1
};

// Of the points of the 1-bit stage, the half-integer ones are 128 that follow each other, whose
// coordinates are signs. With this added to a number they have the top bit, and their signs below.
inline constexpr int kToHalves = 16;

inline const E8pTables& e8p_tables() {
  static const E8pTables tables = [] {
    E8pTables t = {};
    for (int n = 0; n < 256; ++n) {
      for (int i = 0; i < kE8Width; ++i) {
        const int digit = (e8p_vectors()[n][i] - 2) / 4;
        t.digits[i / 4][n] |= static_cast<std::uint8_t>(digit << (2 * (i % 4)));
        const int at = (n + kToHalves) % 256, point = e8_points()[n][i] + 4;
        if (at < 128) t.points[i / 2][at] |= static_cast<std::uint8_t>(point << (4 * (i % 2)));
      }
    }
    return t;
  }();
  return tables;
}

// A matrix over GF(2) for vgf2p8affineqb: row(i, mask) makes bit i the parity of the bits in mask.
struct BitMatrix {
  std::uint64_t bits = 0;

  constexpr BitMatrix row(int i, unsigned mask) const {
    return {bits | std::uint64_t{mask} << (8 * (7 - i))};
  }
};

// Nibbles of coordinates 2 p and 2 p + 1, from digits (p even: the low ones) and from signs.
constexpr BitMatrix digits_to_nibbles(int p) {
  const unsigned first = p % 2 == 0 ? 1 : 16;
  BitMatrix m = BitMatrix().row(0, first).row(1, first << 1).row(4, first << 2).row(5, first << 3);
  return p == 3 ? m.row(6, 0x55) : m;
}
constexpr BitMatrix signs_to_nibbles(int p) {
  const BitMatrix m = BitMatrix().row(3, 0x80).row(7, 0x80).row(2, 1u << (2 * p));
  return m.row(6, p == 3 ? 0x7f : 2u << (2 * p));
}

// Of half-integer points, without what is the same for all (kHalf).
constexpr BitMatrix halves_to_nibbles(int p) {
  const unsigned first = 1u << (2 * p), second = p == 3 ? 0x7f : 2u << (2 * p);
  return BitMatrix().row(1, first).row(2, first).row(5, second).row(6, second);
}
inline constexpr int kHalf = 0x55;  // 1/2 + 2 in halves: 5; the signs make 3 of it

// Matrices come from memory, as there are more of them than registers to spare.
template <BitMatrix matrix>
CRIA_VBMI_INLINE __m512i affine(__m512i x) {
  static constexpr std::uint64_t kBits = matrix.bits;
  __m512i out;
  asm("vgf2p8affineqb $0, %2%{1to8%}, %1, %0" : "=v"(out) : "v"(x), "m"(kBits));
  return out;
}
// mask ? affine(x) ^ add : other
template <BitMatrix matrix, int add>
CRIA_VBMI_INLINE __m512i affine_where(__mmask64 mask, __m512i x, __m512i other) {
  static constexpr std::uint64_t kBits = matrix.bits;
  asm("vgf2p8affineqb %4, %3%{1to8%}, %2, %0%{%1%}"
      : "+v"(other)
      : "Yk"(mask), "v"(x), "m"(kBits), "i"(add));
  return other;
}

// table[i] of each byte.
CRIA_VBMI_INLINE __m512i look_up_256(const __m512i* table, __m512i i) {
  const __m512i low = _mm512_permutex2var_epi8(table[0], i, table[1]);
  const __m512i high = _mm512_permutex2var_epi8(table[2], i, table[3]);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(i), low, high);
}

// The digits of the tables, in registers.
struct E8pDigits {
  __m512i of[2][4];
};
CRIA_VBMI_INLINE E8pDigits load_digits(const E8pTables& tables) {
  const std::uint8_t *low = tables.digits[0], *high = tables.digits[1];
  return {{{load_512(low), load_512(low + 64), load_512(low + 128), load_512(low + 192)},
           {load_512(high), load_512(high + 64), load_512(high + 128), load_512(high + 192)}}};
}

// The nibbles of 64 octets: byte 4 row + octet of part p has those of coordinates 2 p and 2 p + 1.
struct OctetNibbles {
  __m512i part[kE8Width / 2];
};

CRIA_VBMI_INLINE OctetNibbles e8p_nibbles(const E8pDigits& digits, const std::uint8_t* numbers,
                                          const std::uint8_t* signs) {
  const __m512i number = load_512(numbers), sign = load_512(signs);
  const __m512i low = look_up_256(digits.of[0], number);
  const __m512i high = look_up_256(digits.of[1], number);
  return {{_mm512_xor_si512(affine<digits_to_nibbles(0)>(low), affine<signs_to_nibbles(0)>(sign)),
           _mm512_xor_si512(affine<digits_to_nibbles(1)>(low), affine<signs_to_nibbles(1)>(sign)),
           _mm512_xor_si512(affine<digits_to_nibbles(2)>(high), affine<signs_to_nibbles(2)>(sign)),
           _mm512_ternarylogic_epi64(affine<digits_to_nibbles(3)>(high),
                                     affine<signs_to_nibbles(3)>(sign),
                                     affine<BitMatrix().row(6, 0x55)>(low), 0x96)}};
}

template <int p>
CRIA_VBMI_INLINE __m512i e8_nibbles_part(const E8pTables& tables, __m512i at, __mmask64 is_half) {
  const std::uint8_t* points = tables.points[p];
  const __m512i whole = _mm512_permutex2var_epi8(load_512(points), at, load_512(points + 64));
  return affine_where<halves_to_nibbles(p), kHalf>(is_half, at, whole);
}
CRIA_VBMI_INLINE OctetNibbles e8_nibbles(const E8pTables& tables, const std::uint8_t* numbers) {
  const __m512i at = _mm512_add_epi8(load_512(numbers), _mm512_set1_epi8(kToHalves));
  const __mmask64 is_half = _mm512_movepi8_mask(at);
  return {{e8_nibbles_part<0>(tables, at, is_half), e8_nibbles_part<1>(tables, at, is_half),
           e8_nibbles_part<2>(tables, at, is_half), e8_nibbles_part<3>(tables, at, is_half)}};
}

// What nibbles stand for.
using NibbleValues = std::array<std::int8_t, 16>;

// Those of the 2-bit stage, in quarters, times `factor`, plus `offset`.
constexpr NibbleValues e8p_values(int factor, int offset) {
  NibbleValues values = {};
  for (int n = 0; n < 16; ++n) {
    const int size = 2 + 4 * (n & 3), shift = (n & 8) != 0 ? 1 : -1;
    const int value = ((n & 4) != 0 ? -size : size) + shift;
    values[n] = static_cast<std::int8_t>((n & 3) == 3 ? 0 : factor * value + offset);
  }
  return values;
}
constexpr NibbleValues nibbles_themselves() {
  NibbleValues values = {};
  for (int n = 0; n < 16; ++n) values[n] = static_cast<std::int8_t>(n);
  return values;
}

// --- coordinate by coordinate --------------------------------------------------------------------

// Byte 4 c + octet has that of column 8 octet + c.
CRIA_VBMI_INLINE __m256i coordinates_first(__m256i columns) {
  alignas(32) static constexpr auto kFrom = [] {
    std::array<std::int8_t, kColumnGroup> from = {};
    for (int i = 0; i < kColumnGroup; ++i) {
      from[i] = static_cast<std::int8_t>(kE8Width * (i % 4) + i / 4);
    }
    return from;
  }();
  const auto* from = reinterpret_cast<const __m256i*>(kFrom.data());
  return _mm256_permutexvar_epi8(_mm256_load_si256(from), columns);
}

// Coordinate c, in the low nibble of each byte; the high one has something else.
CRIA_VBMI_INLINE __m512i nibble_of(const OctetNibbles& octets, int c) {
  const __m512i part = octets.part[c / 2];
  return c % 2 == 0 ? part : _mm512_srli_epi16(part, 4);
}

// The weights of groups of 16 rows, each plus `offset`. What is looked up is loaded once: asked for
// in the loop over groups, the tables would be a function call, which leaves no register as it was.
template <int bits, int offset>
class E8pWeights {
 public:
  struct Group {
    OctetNibbles first, second;  // stages
  };

  CRIA_VBMI_INLINE E8pWeights() : tables_(e8p_tables()), digits_(load_digits(tables_)) {}

  CRIA_VBMI_INLINE Group load(const std::uint8_t* group) const {
    Group out;
    out.first = e8p_nibbles(digits_, group, group + 64);
    if constexpr (bits == 3) out.second = e8_nibbles(tables_, group + 128);
    if constexpr (bits == 4) out.second = e8p_nibbles(digits_, group + 128, group + 192);
    return out;
  }

  // What the nibbles of the stages stand for. One of the 1-bit stage is its value plus 4.
  static constexpr NibbleValues kFirst =
      e8p_values(bits == 4 ? 4 : 1, bits == 3 ? offset - 4 : offset);
  static constexpr NibbleValues kSecond = bits == 3 ? nibbles_themselves() : e8p_values(1, 0);

  // Quad q: coordinate q of the octets of each row, [row][octet].
  CRIA_VBMI_INLINE static __m512i quad(const Group& group, int q) {
    const __m512i value =
        _mm512_permutexvar_epi8(nibble_of(group.first, q), repeat_16(kFirst.data()));
    if constexpr (bits == 2) return value;
    const __m512i nibble = nibble_of(group.second, q);
    if constexpr (bits == 3) {
      return _mm512_add_epi8(value, _mm512_and_si512(nibble, constant<0x0f0f0f0f0f0f0f0f>()));
    }
    return _mm512_add_epi8(value, _mm512_permutexvar_epi8(nibble, repeat_16(kSecond.data())));
  }

  // The columns of activations, in the order of those of the quads.
  CRIA_VBMI_INLINE static __m256i ordered(__m256i columns) { return coordinates_first(columns); }

 private:
  const E8pTables& tables_;
  const E8pDigits digits_;
};

// --- quad by quad --------------------------------------------------------------------------------

// Bytes 4 row + octet -> pair[s]: the bytes of octets s and s + 2, each followed by that of `b`.
struct OctetPairs {
  __m512i pair[2];
};
CRIA_VBMI_INLINE OctetPairs interleave(__m512i a, __m512i b) {
  constexpr __mmask64 kOdd = 0xaaaaaaaaaaaaaaaau;
  return {{_mm512_mask_blend_epi8(kOdd, a, _mm512_slli_epi16(b, 8)),
           _mm512_mask_blend_epi8(kOdd, _mm512_srli_epi16(a, 8), b)}};
}

// [half of an octet]
struct QuadNibbles {
  OctetPairs half[2];
};
CRIA_VBMI_INLINE QuadNibbles by_quads(const OctetNibbles& octets) {
  return {{interleave(octets.part[0], octets.part[1]), interleave(octets.part[2], octets.part[3])}};
}

// The values of quad q: [row][4].
CRIA_VBMI_INLINE __m512i quad_values(const QuadNibbles& nibbles, int q, __m512i values) {
  const int octet = q / 2;
  // Bit offsets within the eight bytes of two rows.
  constexpr std::uint64_t kFirst = 0x2c2824200c080400u, kSecond = kFirst + 0x1010101010101010u;
  const __m512i at = octet < 2 ? constant<kFirst>() : constant<kSecond>();
  return _mm512_permutexvar_epi8(
      _mm512_multishift_epi64_epi8(at, nibbles.half[q % 2].pair[octet % 2]), values);
}

// Each weight plus `offset`. REQUIRES: has_vbmi_and_gfni().
template <int bits, int offset>
CRIA_VBMI void expand_e8p_vbmi(const std::uint8_t* group, avx2::ExpandedGroup& out) {
  using Weights = E8pWeights<bits, offset>;
  const typename Weights::Group loaded = Weights().load(group);
  const QuadNibbles first = by_quads(loaded.first);
  const __m512i values = repeat_16(Weights::kFirst.data());
  QuadNibbles second;
  __m512i second_values;
  if constexpr (bits > 2) {
    second = by_quads(loaded.second);
    second_values = repeat_16(Weights::kSecond.data());
  }
  CRIA_UNROLL
  for (int q = 0; q < kQuads; ++q) {
    __m512i quad = quad_values(first, q, values);
    if constexpr (bits > 2) quad = _mm512_add_epi8(quad, quad_values(second, q, second_values));
    _mm512_store_si512(out.bytes[q], quad);
  }
}

}  // namespace
}  // namespace cria::avx512

#endif

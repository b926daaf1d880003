// Expanding pairs (tensor/pairs.h) with VBMI and GFNI, a group of 16 rows at a time. Results equal
// those of avx2_words.h.
//
// A product of bytes with a matrix over GF(2) (vgf2p8affineqb) selects: if the columns of the
// matrix are codes, a byte with one bit set gives a code, a byte of zeros none. What the
// instruction adds to all products makes a zero weight of none, codes being kept less that. The 64
// bits of a matrix have the pairs of two quads (q, q + 2) in two rows,
//
//   columns 7, 6  b and a of q in the first row     columns 3, 2  in the second row
//   columns 5, 4  b and a of q + 2, likewise        columns 1, 0
//
// and selectors are brought there from a table of the 16 places (vpshufb, vpmultishiftqb).
#pragma once

#include "kernels/panel/avx2_words.h"
#include "kernels/panel/avx512_vbmi.h"
#include "tensor/pairs.h"

#if !defined(CRIA_EMULATE_AVX512)

namespace cria::avx512 {
namespace {

// Each 64 bits of `bytes` as a matrix: column 7 - i is byte i.
CRIA_VBMI_INLINE __m512i matrix_of(__m512i bytes) {
  return _mm512_gf2p8affine_epi64_epi8(constant<0x0102040810204080>(), bytes, 0);
}

// mask ? second : first, bit by bit.
template <std::uint64_t mask>
CRIA_VBMI_INLINE __m512i choose(__m512i first, __m512i second) {
  return _mm512_ternarylogic_epi64(constant<mask>(), second, first, 0xca);
}

// The matrices of four quads: [q % 2].
struct PairMatrices {
  __m512i of[2];
};

// Of pairs of 4 bits, a plane's, each code less 8. A matrix that has both codes in each column has
// the bits of a in its upper half, those of b in its lower.
CRIA_VBMI_INLINE PairMatrices pair_matrices(__m512i ab) {
  constexpr std::uint64_t kMask = 0xaaaaaaaaffffffff;  // of b, and nothing for the upper four bits
  const __m512i both = matrix_of(ab);
  return {{choose<kMask>(_mm512_srli_epi64(both, 1), _mm512_slli_epi64(both, 32)),
           choose<kMask>(both, _mm512_slli_epi64(both, 33))}};
}

// Of pairs of 8 bits, each less 128.
CRIA_VBMI_INLINE PairMatrices pair_matrices(__m512i a, __m512i b) {
  constexpr std::uint64_t kMask = 0xff00ff00ff00ff00;
  return {{matrix_of(choose<kMask>(b, _mm512_slli_epi16(a, 8))),
           matrix_of(choose<kMask>(_mm512_srli_epi16(b, 8), a))}};
}

// Places in the low nibbles -> bit 2 j: column j is a's; bit 2 j + 1: it is b's, which wins.
CRIA_VBMI_INLINE __m512i pair_selectors(__m512i places) {
  alignas(16) static constexpr auto kTable = [] {
    struct {
      std::int8_t of[16];
    } t = {};
    for (int n = 0; n < 16; ++n) {
      const int a = n & 3, b = n >> 2;
      t.of[n] = static_cast<std::int8_t>((a == b ? 0 : 1 << (2 * a)) | 2 << (2 * b));
    }
    return t;
  }();
  return _mm512_shuffle_epi8(repeat_16(kTable.of),
                             _mm512_and_si512(places, constant<0x0f0f0f0f0f0f0f0f>()));
}

// Of quad q (of four), byte by byte: where the selectors are in the 64 bits of two rows, so that
// they come to the columns of their pair, and which bits these are.
struct SelectorMove {
  std::uint64_t from;
  std::uint64_t mask;
};
constexpr SelectorMove selector_move(int q) {
  SelectorMove move = {};
  for (int i = 0; i < 8; ++i) {
    const int row = i / 4, to = 6 - 4 * row - (q & 2);
    const int from = (8 * (4 * row + q) + 2 * (i % 4) - to) & 63;
    move.from |= static_cast<std::uint64_t>(from) << (8 * i);
    move.mask |= std::uint64_t{3} << (8 * i + to);
  }
  return move;
}

inline constexpr SelectorMove kSelectorMoves[4] = {selector_move(0), selector_move(1),
                                                   selector_move(2), selector_move(3)};

// The weights of groups of 16 rows, each plus kZero: 8 (3 bits a weight) or 128 (5 bits).
template <int bits>
class PairWeights {
 public:
  struct Group {
    PairMatrices matrices[2];  // of quads 0 to 3, of 4 to 7
    __m512i selectors[2];
  };

  CRIA_VBMI_INLINE Group load(const std::uint8_t* group) const {
    const __m512i places = load_512(group + (bits - 1) * 64);
    const __m512i high_places = _mm512_srli_epi16(places, 4);
    if constexpr (bits == 3) {
      return {{pair_matrices(codes(group, 0)), pair_matrices(codes(group, 1))},
              {pair_selectors(places), pair_selectors(high_places)}};
    } else {
      return {{pair_matrices(codes(group, 0), codes(group, 2)),
               pair_matrices(codes(group, 1), codes(group, 3))},
              {pair_selectors(places), pair_selectors(high_places)}};
    }
  }

  // Quad q: [row][4].
  CRIA_VBMI_INLINE static __m512i quad(const Group& group, int q) {
    const SelectorMove& move = kSelectorMoves[q % 4];
    const __m512i moved =
        _mm512_multishift_epi64_epi8(broadcast_64(move.from), group.selectors[q / 4]);
    return _mm512_gf2p8affine_epi64_epi8(_mm512_and_si512(moved, broadcast_64(move.mask)),
                                         group.matrices[q / 4].of[q % 2], kZero);
  }

  // The columns of activations, in the order of those of the quads: as they are.
  CRIA_VBMI_INLINE static __m256i ordered(__m256i columns) { return columns; }

 private:
  static constexpr int kZero = 1 << (pair_code_bits(bits) - 1);

  CRIA_VBMI_INLINE static __m512i codes(const std::uint8_t* group, int plane) {
    constexpr std::uint64_t kZeros = bits == 3 ? 0x8888888888888888 : 0x8080808080808080;
    return _mm512_xor_si512(load_512(group + 64 * plane), constant<kZeros>());
  }
};

// REQUIRES: has_vbmi_and_gfni().
template <int bits>
CRIA_VBMI void expand_pairs_vbmi(const std::uint8_t* group, avx2::ExpandedGroup& out) {
  const auto loaded = PairWeights<bits>().load(group);
  CRIA_UNROLL
  for (int q = 0; q < kQuads; ++q) {
    _mm512_store_si512(out.bytes[q], PairWeights<bits>::quad(loaded, q));
  }
}

}  // namespace
}  // namespace cria::avx512

#endif

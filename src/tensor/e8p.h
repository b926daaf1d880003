// E8P: codebooks for eight weights at a time, made of points of the lattice E8 (QuIP#, 2024).
//
// The stage of 2 bits a weight has 65,536 points: |a| from a table of 256 vectors whose coordinates
// are 1/2, 3/2 or 5/2 and whose squared norm is at most 10 (227 vectors, all there are) or 12 (29
// of those with five 3/2), times signs of which seven are free and the eighth makes the sum of the
// coordinates even, plus 1/4 or minus 1/4 in all coordinates. So a point is D8 + 1/2 +- 1/4, a part
// of E8 + 1/4. Its code:
//
//   bits 15..8  the vector |a|       bits 6..0  minus signs of coordinates 6..0      bit 7  plus
//   1/4
//
// The stage of 1 bit has 256 points of E8: the 240 shortest, 15 of the 16 twice a unit vector,
// zero.
//
// An encoding of 2, 3 or 4 bits adds up stages, each of which rounds what the one before left:
//
//   2 bits   p              (p of the 2-bit stage)
//   3 bits   p + e / 2      (e of the 1-bit stage)
//   4 bits   p + q / 4      (q of the 2-bit stage)
//
// QuIP# has the factors 1 / 2.04 and 1 / 3.45. On normally distributed weights the error with 1 / 2
// is the same (2.95 %) and with 1 / 4 smaller (0.84 % instead of 0.87 %, each at its best scale);
// and every sum is a whole number of quarters or sixteenths: int8, for which there are
// instructions.
//
// Pure functions; safe from any thread.
#pragma once

#include <cstdint>
#include <span>

namespace cria {

inline constexpr int kE8Width = 8;  // weights a code

// --- the stages ----------------------------------------------------------------------------------

// Vectors with a number below this have an even number of minus signs, the others an odd one.
inline constexpr int kE8pFirstOdd = 107;

// The 256 vectors |a|, in quarters: coordinates 2, 6 and 10.
std::span<const std::uint8_t[kE8Width], 256> e8p_vectors();
// The 256 points of the 1-bit stage, in halves: coordinates 0, 1, -1, 2, -2, 4 and -4.
std::span<const std::int8_t[kE8Width], 256> e8_points();

// A point of the 2-bit stage in quarters: odd numbers from -11 to 11.
void e8p_decode(std::uint16_t code, std::int8_t* quarters);

// The code of the point nearest to x[0..7]: exactly the nearest, in a time that does not depend on
// x (about 0.3 us). REQUIRES: finite x.
std::uint16_t e8p_nearest(const float* x);
std::uint8_t e8_nearest(const float* x);

// --- the encodings -------------------------------------------------------------------------------

// Integers a unit of the codebook: what e8p_decode_octet gives is the point times this.
constexpr int e8p_unit(int bits) { return bits == 4 ? 16 : 4; }

// Root mean square that weights should have, in units of the codebook, for the least error on
// normally distributed weights.
constexpr float e8p_best_rms(int bits) { return bits == 2 ? 1.03f : bits == 3 ? 0.98f : 0.88f; }

// Codes of eight columns, `bits` (2, 3 or 4) bits each: the word (tensor/code_words.h) of the first
// stage's code in the low 16 bits, the second's above it.
void e8p_decode_octet(int bits, const std::uint8_t* codes, std::int8_t* values);
void e8p_decode_word(int bits, std::uint32_t word, std::int8_t* values);
// Rounds x[0..7] stage by stage. REQUIRES: finite x.
void e8p_quantize_octet(int bits, const float* x, std::uint8_t* codes);

}  // namespace cria

// The specification of quantize_a8: float rows -> int8 blocks of 32.
#pragma once

#include <bit>
#include <cstring>
#include <limits>

#include "kernels/kernels.h"

namespace cria::spec {
namespace {

// Blocks whose largest magnitude is below the one become zeros; from the other on they count as not
// finite, as infinity does. So all that kernels make of scales are normal numbers.
inline constexpr float kA8Smallest = 0x1p-100f;
inline constexpr std::uint32_t kA8SmallestBits = std::bit_cast<std::uint32_t>(kA8Smallest);
inline constexpr std::uint32_t kA8OverflowBits = std::bit_cast<std::uint32_t>(0x1p+100f);

inline constexpr std::uint32_t kFloatInfinityBits = 0x7f800000u;

// The scale of a block whose largest magnitude is between them: amax / 127, rounded up to four
// significant bits: 8 to 15 times a power of two. Products with it are exact then.
inline float a8_scale(std::uint32_t amax_bits) {
  constexpr std::uint32_t kBehind = (1u << (24 - kA8ScaleBits)) - 1;
  const auto bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(amax_bits) / 127.0f);
  return std::bit_cast<float>((bits + kBehind) & ~kBehind);
}

// Adding and subtracting 1.5 * 2^23 rounds |x| < 2^22 to an integer, ties to even.
inline constexpr float kRoundingMagic = 12582912.0f;

inline std::int8_t a8_code(float x, float inverse) {
  const float rounded = (x * inverse + kRoundingMagic) - kRoundingMagic;
  return static_cast<std::int8_t>(static_cast<int>(rounded));
}

// code = round_to_even(x * inverse) of a block, and their sums.
inline void quantize_a8_codes(const float* x, float inverse, std::int8_t* codes, A8Block& block) {
  for (int i = 0; i < kColumnGroup; ++i) codes[i] = a8_code(x[i], inverse);
  for (int half = 0; half < 2; ++half) {
    int sum = 0;
    for (int i = 0; i < kColumnGroup / 2; ++i) sum += codes[half * kColumnGroup / 2 + i];
    block.sums[half] = static_cast<std::int16_t>(sum);
  }
}

// One block: x[0..31] -> codes.
//   amax  = max |x|, found on the bits so that not-a-number is larger than infinity
//   scale = amax / 127, rounded up to four significant bits
//   code  = round_to_even(x * (1 / scale))
inline void quantize_a8_block(const float* x, std::int8_t* codes, A8Block& block) {
  std::uint32_t amax_bits = 0;
  for (int i = 0; i < kColumnGroup; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu;
    amax_bits = bits > amax_bits ? bits : amax_bits;
  }
  block = {0.0f, {0, 0}};
  if (amax_bits >= kA8OverflowBits || amax_bits < kA8SmallestBits) {
    std::memset(codes, 0, kColumnGroup);
    if (amax_bits >= kA8OverflowBits) block.scale = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  block.scale = a8_scale(amax_bits);
  quantize_a8_codes(x, 1.0f / block.scale, codes, block);
}

// The last block of a row, padded with zeros.
inline void quantize_a8_tail(const float* x, std::int64_t n, std::int8_t* codes, A8Block& block) {
  float padded[kColumnGroup] = {};
  std::memcpy(padded, x, static_cast<std::size_t>(n) * sizeof(float));
  quantize_a8_block(padded, codes, block);
}

inline void quantize_a8(const QuantizeA8Args& args) {
  const std::int64_t n_blocks = a8_blocks(args.n_cols);
  for (std::int64_t t = args.first_token; t < args.first_token + args.n_tokens; ++t) {
    const float* x = args.x + t * args.x_stride;
    for (std::int64_t b = 0; b < n_blocks; ++b) {
      const std::int64_t at = a8_index(t, b, args.n_rows, n_blocks);
      std::int8_t* codes = args.codes + at * kColumnGroup;
      A8Block& block = args.blocks[at];
      const std::int64_t left = args.n_cols - b * kColumnGroup;
      if (left >= kColumnGroup) {
        quantize_a8_block(x + b * kColumnGroup, codes, block);
      } else {
        quantize_a8_tail(x + b * kColumnGroup, left, codes, block);
      }
    }
  }
}

}  // namespace
}  // namespace cria::spec

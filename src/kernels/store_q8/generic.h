// The specification of store_q8: one head's K or V of one position, as int8, into its panel.
//
//   amax  = max |x| of the head, found on the bits so that not-a-number is larger than infinity
//   V:    code = round_to_even(x * (127 / amax)), scale = amax / 127
//   K:    scale = amax / 127 rounded up to 4 bits (3 bits, head_dim > 64; as it is, > 128),
//         code = round_to_even(x * (1 / scale))
//
// The format has a scale for 32 columns; all of a head get the same one. Of values, weights times
// scales are then the same for all columns. Of keys, a scale of so few bits makes exact what
// attention adds up: a float's 24 bits hold the sum of all products of int8, times the scale, so
// that it is the same to add integers first and to scale once. A step is an eighth (a quarter) too
// long at most.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/kernels.h"
#include "kernels/quantize_a8/generic.h"
#include "tensor/float16.h"

namespace cria::spec {
namespace {

// Of the scales of keys of a head, with sums below 2^20 and 2^21; 0: no limit.
inline int key_scale_bits(std::int64_t head_dim) {
  return head_dim <= 64 ? 4 : head_dim <= 128 ? 3 : 0;
}

// The bits of a float behind its first n_bits (> 0).
inline std::uint32_t bits_behind(int n_bits) { return (std::uint32_t{1} << (24 - n_bits)) - 1; }

// At least `scale` and a half float of n_bits; as it is where there is none.
inline float key_scale(float scale, int n_bits) {
  constexpr float kHalfStep = 0x1p-24f;  // between small half floats
  constexpr float kMostHalf = 65504.0f;
  if (n_bits == 0) return scale;
  if (scale < std::ldexp(kHalfStep, n_bits)) return std::ceil(scale / kHalfStep) * kHalfStep;
  const std::uint32_t behind = bits_behind(n_bits);
  const float up = std::bit_cast<float>((std::bit_cast<std::uint32_t>(scale) + behind) & ~behind);
  return up > kMostHalf ? scale : up;
}

// Codes [head_dim] and the half-float bits of each 32 columns' scale.
inline void store_codes(const std::int8_t* codes, const std::uint16_t* scales,
                        const StoreQ8Args& to) {
  auto* panel = reinterpret_cast<std::uint8_t*>(to.panel);
  const std::int64_t lane = to.position % kKvPanel;
  for (std::int64_t d = 0; d < to.head_dim; ++d) {
    const auto code = static_cast<std::uint8_t>(codes[d]);
    if (to.is_value) {
      panel[(lane / 4 * to.head_dim + d) * 4 + lane % 4] = code;
    } else {  // as Encoding::kQ8: unsigned, a plane a quad
      panel[key_codes_offset(d / kColumnGroup) + d % kColumnGroup / 4 * 64 + 4 * lane + d % 4] =
          code ^ 0x80;
    }
  }
  for (std::int64_t b = 0; b < to.head_dim / kColumnGroup; ++b) {
    const std::int64_t at =
        to.is_value ? value_scales_offset(to.head_dim, b) : key_scales_offset(b);
    std::memcpy(to.panel + at + 2 * lane, &scales[b], sizeof(scales[b]));
  }
}

inline void store_q8(const StoreQ8Args& args) {
  std::uint32_t amax_bits = 0;
  for (std::int64_t d = 0; d < args.head_dim; ++d) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(args.x[d]) & 0x7fffffffu;
    amax_bits = bits > amax_bits ? bits : amax_bits;
  }
  const float amax = std::bit_cast<float>(amax_bits);
  std::int8_t codes[kMaxHeadDim] = {};
  float scale = 0.0f;
  if (amax_bits >= kFloatInfinityBits) {
    scale = std::numeric_limits<float>::quiet_NaN();
  } else if (amax >= kA8Smallest) {
    scale = args.is_value ? amax / 127.0f : key_scale(amax / 127.0f, key_scale_bits(args.head_dim));
    const float to_code = args.is_value ? 127.0f / amax : 1.0f / scale;
    for (std::int64_t d = 0; d < args.head_dim; ++d) codes[d] = a8_code(args.x[d], to_code);
  }
  std::uint16_t scales[kMaxHeadDim / kColumnGroup];
  std::fill_n(scales, args.head_dim / kColumnGroup, f32_to_f16(scale));
  store_codes(codes, scales, args);
}

}  // namespace
}  // namespace cria::spec

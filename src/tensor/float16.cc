#include "tensor/float16.h"

#include <cstring>

namespace cria {
namespace {

// Without branches, so that loops over it become vector code.
inline float widen(std::uint16_t half) {
  const std::uint32_t magnitude = half & 0x7fffu;
  // Exponents differ by 112 and the multiplication is exact; it makes subnormal halves normal.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  std::uint32_t bits = std::bit_cast<std::uint32_t>(scaled);
  bits |= magnitude >= 0x7c00u ? 0x7f800000u : 0;
  // A signalling NaN becomes quiet, as every processor's own conversion does it.
  bits |= magnitude > 0x7c00u ? 0x400000u : 0;
  return std::bit_cast<float>(bits | static_cast<std::uint32_t>(half & 0x8000u) << 16);
}

}  // namespace

float f16_to_f32(std::uint16_t half) { return widen(half); }

std::uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  // 65520 is halfway between the largest half and the next step, and ties go to the even infinity.
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 makes the float adder round to multiples of 2^-24, ties to even.
    const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(rounded) - 0x3f000000u));
  }
  // Adds just under half of a step, one more if the kept part is odd; a carry moves the exponent.
  const std::uint32_t odd = (magnitude >> 13) & 1;
  return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

std::uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

void f16_to_f32(const std::byte* from, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t half;
    std::memcpy(&half, from + 2 * i, sizeof(half));
    out[i] = widen(half);
  }
}

void bf16_to_f32(const std::byte* from, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, from + 2 * i, sizeof(bits));
    out[i] = bf16_to_f32(bits);
  }
}

}  // namespace cria

// Half and bfloat16 <-> float, in portable code: the specification of both conversions.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cria {

float f16_to_f32(std::uint16_t half);
std::uint16_t f32_to_f16(
    float value);  // round to nearest even; overflow to infinity; NaN stays NaN

inline constexpr float kLargestHalf = 65504.0f;  // that is finite

constexpr float bf16_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
std::uint16_t f32_to_bf16(float value);  // round to nearest even; NaN stays NaN

// Many at once, equal to one by one: `from` has two little-endian bytes an element of `out`.
void f16_to_f32(const std::byte* from, std::span<float> out);
void bf16_to_f32(const std::byte* from, std::span<float> out);

}  // namespace cria

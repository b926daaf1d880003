// Half and bfloat16 <-> float, in portable code: the specification of both conversions.
#pragma once

#include <bit>
#include <cstdint>

namespace cria {

float f16_to_f32(std::uint16_t half);
std::uint16_t f32_to_f16(
    float value);  // round to nearest even; overflow to infinity; NaN stays NaN

constexpr float bf16_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
std::uint16_t f32_to_bf16(float value);  // round to nearest even; NaN stays NaN

}  // namespace cria

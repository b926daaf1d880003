// What expanding codes with VBMI and GFNI shares, which most processors with AVX-512 VNNI have.
// Functions are compiled for both by themselves, so that the files they lie in need neither.
// Internal linkage throughout, as in panel/generic.h.
#pragma once

#include "kernels/panel/avx512.h"

#if !defined(CRIA_EMULATE_AVX512)

#define CRIA_VBMI [[gnu::target("avx512vbmi,gfni")]]
#define CRIA_VBMI_INLINE [[gnu::target("avx512vbmi,gfni"), gnu::always_inline]] inline

namespace cria::avx512 {
namespace {

inline bool has_vbmi_and_gfni() {
  static const bool has = __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("gfni");
  return has;
}

// 64 bits, eight times, from memory: constants of one byte repeated would be made in an integer
// register and sent through the port that shuffles, anew for each group.
CRIA_VBMI_INLINE __m512i broadcast_64(const std::uint64_t& bits) {
  __m512i out;
  asm("vpbroadcastq %1, %0" : "=v"(out) : "m"(bits));
  return out;
}
template <std::uint64_t bits>
CRIA_VBMI_INLINE __m512i constant() {
  static constexpr std::uint64_t kBits = bits;
  return broadcast_64(kBits);
}

// Four times over, for vpermb, which looks at six bits where a nibble has four, and for vpshufb.
CRIA_VBMI_INLINE __m512i repeat_16(const std::int8_t* values) {
  __m512i out;
  asm("vbroadcasti32x4 %1, %0" : "=v"(out) : "m"(*reinterpret_cast<const __m128i*>(values)));
  return out;
}

}  // namespace
}  // namespace cria::avx512

#endif

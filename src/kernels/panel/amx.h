// The tile registers of AMX. Internal linkage throughout, as in panel/generic.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "tensor/encoding.h"
#if defined(CRIA_EMULATE_AVX512)
#include "kernels/panel/amx_emulation.h"
#define CRIA_AMX_INT8_NAME(op) op##_amx_int8_emulated
#else
#define CRIA_AMX_INT8_NAME(op) op##_amx_int8
#endif

namespace cria::avx512 {
namespace {

inline constexpr int kAmxRows = 16;

// What ldtilecfg reads.
struct AmxConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t n_rows[16] = {};
};
static_assert(sizeof(AmxConfig) == 64);

// GCC's _tile_loadconfig says that it reads eight bytes of the 64: without the barrier, stores of
// the others may be left out as dead.
inline void load_tile_config(const AmxConfig& config) {
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// The tile registers of all kernels, for as long as this lives. 0 to 3 are sums of 32 bits, 16
// x 16. For groups of 32 columns: 6 are the codes of 16 tokens, 7 those of 16 rows of weights. For
// sums over 64: 4 has 16 rows of 64, 5 four rows of each of 16 columns in a row.
class AmxTiles {
 public:
  AmxTiles() {
    alignas(64) AmxConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = tile == 6 ? kColumnGroup : 64;
      config.n_rows[tile] = tile == 7 ? kColumnGroup / 4 : kAmxRows;
    }
    load_tile_config(config);
  }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

// Of 16 rows of activations and 16 of weights or keys: sums over a group of columns.
using AmxProducts = std::int32_t[kAmxRows][kPanelRows];

// The group in 6 times that in 7. Instructions want registers as literals.
template <int tile>
inline void multiply_groups() {
  static_assert(tile >= 0 && tile < 4);
  if constexpr (tile == 0) {
    _tile_zero(0);
    _tile_dpbssd(0, 6, 7);
  } else if constexpr (tile == 1) {
    _tile_zero(1);
    _tile_dpbssd(1, 6, 7);
  } else if constexpr (tile == 2) {
    _tile_zero(2);
    _tile_dpbssd(2, 6, 7);
  } else {
    _tile_zero(3);
    _tile_dpbssd(3, 6, 7);
  }
}

// And zeroes the register: while a core's other hardware thread works, tile instructions are slower
// the more of the eight are not zero (docs/speed.md, "Beside tile instructions").
template <int tile>
inline void store_products(AmxProducts& to) {
  static_assert(tile >= 0 && tile < 4);
  if constexpr (tile == 0) {
    _tile_stored(0, to, 64);
    _tile_zero(0);
  } else if constexpr (tile == 1) {
    _tile_stored(1, to, 64);
    _tile_zero(1);
  } else if constexpr (tile == 2) {
    _tile_stored(2, to, 64);
    _tile_zero(2);
  } else {
    _tile_stored(3, to, 64);
    _tile_zero(3);
  }
}

// Done with 6 and 7, for the same reason.
inline void drop_groups() {
  _tile_zero(6);
  _tile_zero(7);
}

}  // namespace
}  // namespace cria::avx512

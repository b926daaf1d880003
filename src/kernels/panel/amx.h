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

// Tile registers as linear_a8 wants them, for as long as this lives: 0 and 1 are sums of 32 bits, 2
// the 32 codes of 16 tokens, 3 a group of 16 rows of weights.
class AmxTiles {
 public:
  AmxTiles() {
    alignas(64) AmxConfig config;
    for (int tile = 0; tile < 4; ++tile) {
      config.row_bytes[tile] = tile == 2 ? kColumnGroup : 4 * kPanelRows;
      config.n_rows[tile] = tile == 3 ? kColumnGroup / 4 : kAmxRows;
    }
    _tile_loadconfig(&config);
  }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

}  // namespace
}  // namespace cria::avx512

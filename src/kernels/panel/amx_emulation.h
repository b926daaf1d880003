// The tile instructions of AMX-INT8 on processors without them, for tests: what kernels use, in
// scalar code.
#pragma once

#include <cstdint>
#include <cstring>

namespace cria::avx512 {
namespace {

struct EmulatedTile {
  int n_rows = 0;
  int row_bytes = 0;
  std::uint8_t bytes[16][64] = {};
};
struct EmulatedTiles {
  EmulatedTile tile[8];
};

inline EmulatedTile& emulated_tile(int index) {
  static thread_local EmulatedTiles tiles;
  return tiles.tile[index];
}

// `config`: 16 bytes, 16 numbers of 16 bits (bytes a row), 16 bytes (rows).
inline void emulate_tile_loadconfig(const void* config) {
  const auto* bytes = static_cast<const std::uint8_t*>(config);
  for (int i = 0; i < 8; ++i) {
    EmulatedTile& tile = emulated_tile(i);
    tile = {};
    std::uint16_t row_bytes;
    std::memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof(row_bytes));
    tile.row_bytes = row_bytes;
    tile.n_rows = bytes[48 + i];
  }
}

inline void emulate_tile_loadd(int index, const void* from, std::int64_t stride) {
  EmulatedTile& tile = emulated_tile(index);
  const auto* bytes = static_cast<const std::uint8_t*>(from);
  for (int r = 0; r < tile.n_rows; ++r) {
    std::memcpy(tile.bytes[r], bytes + r * stride, static_cast<std::size_t>(tile.row_bytes));
  }
}

inline void emulate_tile_stored(int index, void* to, std::int64_t stride) {
  const EmulatedTile& tile = emulated_tile(index);
  auto* bytes = static_cast<std::uint8_t*>(to);
  for (int r = 0; r < tile.n_rows; ++r) {
    std::memcpy(bytes + r * stride, tile.bytes[r], static_cast<std::size_t>(tile.row_bytes));
  }
}

inline void emulate_tile_zero(int index) {
  std::memset(emulated_tile(index).bytes, 0, sizeof(EmulatedTile::bytes));
}

// sum[m][n] += the four products of a[m][4 * k ..] and b[k][4 * n ..], over k.
template <typename A>
inline void emulate_tile_dot(int sum_index, int a_index, int b_index) {
  EmulatedTile& sum = emulated_tile(sum_index);
  const EmulatedTile& a = emulated_tile(a_index);
  const EmulatedTile& b = emulated_tile(b_index);
  for (int m = 0; m < sum.n_rows; ++m) {
    for (int n = 0; n < sum.row_bytes; n += 4) {
      std::int32_t total;
      std::memcpy(&total, sum.bytes[m] + n, sizeof(total));
      for (int k = 0; k < a.row_bytes; ++k) {
        total +=
            static_cast<A>(a.bytes[m][k]) * static_cast<std::int8_t>(b.bytes[k / 4][n + k % 4]);
      }
      std::memcpy(sum.bytes[m] + n, &total, sizeof(total));
    }
  }
}

inline void emulate_tile_dpbssd(int sum, int a, int b) { emulate_tile_dot<std::int8_t>(sum, a, b); }
inline void emulate_tile_dpbusd(int sum, int a, int b) {
  emulate_tile_dot<std::uint8_t>(sum, a, b);
}

}  // namespace
}  // namespace cria::avx512

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#undef _tile_dpbusd
#define _tile_loadconfig cria::avx512::emulate_tile_loadconfig
#define _tile_release() static_cast<void>(0)
#define _tile_loadd cria::avx512::emulate_tile_loadd
#define _tile_stored cria::avx512::emulate_tile_stored
#define _tile_zero cria::avx512::emulate_tile_zero
#define _tile_dpbssd cria::avx512::emulate_tile_dpbssd
#define _tile_dpbusd cria::avx512::emulate_tile_dpbusd

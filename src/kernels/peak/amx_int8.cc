#include <cpuid.h>

#include "kernels/panel/amx.h"
#include "kernels/peak/peak.h"

namespace cria {
namespace {

// Six tiles of sums, which cover the latency of a product; 6 and 7 are the operands.
constexpr int kSums = 6;
// 16 x 16 sums over a tile's 64 bytes a row.
constexpr std::int64_t kInt8Macs = 16 * 16 * 64, kBf16Macs = 16 * 16 * 32;

class FullTiles {
 public:
  FullTiles() {
    alignas(64) avx512::AmxConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = 64;
      config.n_rows[tile] = 16;
    }
    avx512::load_tile_config(config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
  }
  ~FullTiles() { _tile_release(); }
  FullTiles(const FullTiles&) = delete;
  FullTiles& operator=(const FullTiles&) = delete;
};

// Assembly, as in avx512vnni.cc. The speed does not depend on the values.
#define CRIA_TILE_ROUNDS(n_rounds, product)          \
  asm volatile("1:\n .irp r,0,1,2,3,4,5\n" product   \
               " %%tmm7, %%tmm6, %%tmm\\r\n .endr\n" \
               "sub $1, %[n]\n jnz 1b\n"             \
               : [n] "+r"(n_rounds)                  \
               :                                     \
               : "cc")

void int8_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const FullTiles tiles;
  CRIA_TILE_ROUNDS(n_rounds, "tdpbssd");
}

// Only where has_bf16_tiles().
[[gnu::target("amx-bf16")]] void bf16_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const FullTiles tiles;
  CRIA_TILE_ROUNDS(n_rounds, "tdpbf16ps");
}

bool has_bf16_tiles() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kAmxBf16 = 1u << 22;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kAmxBf16) != 0;
}

}  // namespace

PeakLoops peak_loops_amx_int8() {
  PeakLoops loops = peak_loops_avx512vnni();
  loops.int8_tiles = {"tdpbssd", kInt8Macs * kSums, int8_rounds};
  if (has_bf16_tiles()) loops.bf16_tiles = {"tdpbf16ps", kBf16Macs * kSums, bf16_rounds};
  return loops;
}

}  // namespace cria

// Loops that show what a processor can do at best: multiply and add from registers, read memory.
// What kernels reach is told as a share of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu_features.h"

namespace cria {

// Multiply-adds and nothing else: all operands in registers, more independent sums than the
// latency of an instruction needs.
struct DotLoop {
  const char* instructions = "";    // what a sum is made of: "vpdpbusd"
  std::int64_t macs_per_round = 0;  // multiply-adds
  void (*run)(std::int64_t n_rounds) = nullptr;
};

// For int8 the sequence is exact for any two int8 numbers (one operand unsigned where the
// instruction wants it so: kernels correct for that outside of their inner loop). Where there is no
// instruction for bf16, its loop widens one operand to f32, as kernels have to.
struct PeakLoops {
  DotLoop int8;
  DotLoop bf16;
  DotLoop f32;
  // Products of whole tiles (AMX); no `run` where there are none.
  DotLoop int8_tiles;
  DotLoop bf16_tiles;
  // Loads every byte. REQUIRES: data aligned to 64 bytes, size_bytes a multiple of 512.
  void (*read)(const std::byte* data, std::size_t size_bytes) = nullptr;
};

// The loops of an instruction set; those of plain C++ where this build has none for it.
// REQUIRES: cpu_supports(isa).
PeakLoops peak_loops(Isa isa);

// One file an instruction set.
PeakLoops peak_loops_generic();
PeakLoops peak_loops_avx2();
PeakLoops peak_loops_avx512vnni();
PeakLoops peak_loops_amx_int8();
PeakLoops peak_loops_neon_dotprod();
PeakLoops peak_loops_neon_i8mm();

}  // namespace cria

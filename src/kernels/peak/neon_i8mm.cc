#include "kernels/peak/neon.h"

namespace cria {
namespace {

void smmla_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  const std::uint32_t a = 0x03030303, b = 0x05050505;
  CRIA_ROUNDS(n_rounds, a, b,
              "smmla v\\r\\().4s, v20.16b, v21.16b\n smmla v1\\r\\().4s, v20.16b, v21.16b");
}

// Only where cpu_has_bf16_dot(): processors with I8MM need not have BF16.
void bfmmla_rounds(std::int64_t n_rounds) {
  if (n_rounds <= 0) return;
  asm(".arch_extension bf16");
  const std::uint32_t a = 0x3c003c00;
  CRIA_ROUNDS(n_rounds, a, a,
              "bfmmla v\\r\\().4s, v20.8h, v21.8h\n bfmmla v1\\r\\().4s, v20.8h, v21.8h");
}

}  // namespace

PeakLoops peak_loops_neon_i8mm() {
  PeakLoops loops = dotprod_loops();
  loops.int8 = {"smmla", 32 * kSums, smmla_rounds};
  if (cpu_has_bf16_dot()) loops.bf16 = {"bfmmla", 16 * kSums, bfmmla_rounds};
  return loops;
}

}  // namespace cria

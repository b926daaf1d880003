#include "kernels/peak/peak.h"

#include <gtest/gtest.h>

#include "base/aligned_buffer.h"

namespace cria {
namespace {

// Every loop of every instruction set that this processor has runs and says what it is.
TEST(Peak, EveryLoopRuns) {
  const AlignedBuffer memory = AlignedBuffer::allocate(4096).value();
  for (Isa isa : kAllIsas) {
    if (!cpu_supports(isa)) continue;
    const PeakLoops loops = peak_loops(isa);
    for (const DotLoop& loop : {loops.int8, loops.bf16, loops.f32}) {
      ASSERT_NE(loop.run, nullptr) << isa_name(isa);
      EXPECT_STRNE(loop.instructions, "");
      EXPECT_GT(loop.macs_per_round, 0);
      loop.run(0);
      loop.run(1000);
    }
    for (const DotLoop& loop : {loops.int8_tiles, loops.bf16_tiles}) {
      EXPECT_EQ(loop.run != nullptr, loop.macs_per_round > 0) << isa_name(isa);
      if (loop.run == nullptr) continue;
      loop.run(0);
      loop.run(1000);
    }
    loops.read(memory.data(), 0);
    loops.read(memory.data(), memory.size_bytes());
  }
}

}  // namespace
}  // namespace cria

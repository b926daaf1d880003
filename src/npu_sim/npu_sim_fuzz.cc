// Streams that the verifier lets pass are timed: it ends, and what it counts adds up.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "format/fuzz_patches.h"
#include "format/npu_commands/npu_example.h"
#include "npu_sim/npu_sim.h"

namespace {

cria::NpuProfile plain_profile() {
  cria::NpuProfile p;
  p.name = "plain";
  p.clock.states = {{"only", 1000, 1000, 1000, 1}};
  p.matrix.modes[static_cast<std::size_t>(cria::MatrixMode::kF16)] = {32, 32, 32, 4096};
  p.vector.contexts = 4;
  p.vector.lane_bytes = 128;
  p.vector.cycles_per_vector = {1, 1, 4, 4, 1, 1, 1};
  p.vector.start_cycles = 10;
  p.sram = {1 << 20, 1, 100, 100};
  p.dma = {1, 100, 2, 100, {{64, 1.0}}, 1};
  p.dram = {10, 10, 0, 10};
  p.host = {.submit_us = 5, .complete_us = 3, .per_op_ns = 100, .batch_max = 1, .queue_depth = 1};
  p.limits.static_shapes = true;
  return p;
}

void check(const cria::NpuCommands& commands, std::uint32_t batch, std::uint32_t queue_depth) {
  static const cria::NpuProfile profile = plain_profile();
  const std::int64_t n_tokens = std::min<std::int64_t>(commands.max_tokens, 64);
  const auto timing = cria::simulate_npu(commands, profile, {n_tokens, 0},
                                         {.batch = batch, .queue_depth = queue_depth});
  if (!timing.ok()) return;
  cria::Picoseconds sum = timing->submit_ps + timing->complete_ps + timing->choose_ps;
  for (const cria::NpuOpTime& op : timing->ops) {
    if (op.idle_ps < 0 || op.idle_ps > op.elapsed_ps) std::abort();
    sum += op.elapsed_ps;
  }
  if (sum != timing->elapsed_ps) std::abort();
  for (const cria::Picoseconds busy : timing->work.busy_ps) {
    if (busy < 0 || busy > timing->elapsed_ps) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string valid = [] {
    const std::vector<std::byte> bytes = cria::encode_npu_commands(cria::example_npu_commands());
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }();
  cria::for_each_patched(valid, {data, size}, [](std::span<const std::byte> bytes) {
    const auto commands = cria::decode_npu_commands(bytes, "fuzz");
    if (!commands.ok() || commands->max_tokens > 4096) return;
    check(*commands, 0, 0);
    check(*commands, 1, 1);
    check(*commands, 1, 2);
  });
  return 0;
}

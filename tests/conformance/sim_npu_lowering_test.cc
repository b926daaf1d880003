// What the compiler makes of a decoder for a simulated NPU: weights ahead of their use, and
// contexts where the address window is too small.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "format/npu_commands/npu_access.h"
#include "lowered_decoder.h"
#include "npu_sim/npu_sim.h"
#include "tensor/packing.h"

namespace cria {
namespace {

using testing::HasSubstr;

constexpr DecoderShape kShape{512, 1024, 256, 8, 2, 64};
constexpr std::uint64_t kSramBytes = 1 << 20;  // a part of the weights

bool is_load(const NpuCommand& command) {
  return command.kind == NpuCommandKind::kLoadWeight || command.kind == NpuCommandKind::kLoadStrip;
}

NpuTiming time_of(const NpuCommands& commands, const NpuProfile& profile, bool ahead) {
  NpuSimOptions options;
  options.timeline = true;
  options.one_op_at_a_time = !ahead;
  auto timing = simulate_npu(commands, profile, {1, 8}, options);
  EXPECT_TRUE(timing.ok()) << timing.status().message();
  return *timing;
}

// By op: when its first weight was asked for, and when its last command was done.
struct OpSpan {
  Picoseconds first_load = -1, end = 0;
};

std::map<std::uint32_t, OpSpan> spans_of(const NpuCommands& commands, const NpuTiming& timing) {
  std::map<std::uint32_t, OpSpan> spans;
  for (const NpuEvent& event : timing.timeline) {
    const NpuCommand& command = commands.commands[event.command];
    OpSpan& span = spans[command.op];
    if (is_load(command) && (span.first_load < 0 || event.start_ps < span.first_load))
      span.first_load = event.start_ps;
    span.end = std::max(span.end, event.end_ps);
  }
  return spans;
}

// Ops that begin to load weights before the op before them is done.
std::pair<int, int> ops_loaded_ahead(const NpuCommands& commands, const NpuTiming& timing) {
  int n_ahead = 0, n_loading = 0;
  Picoseconds before = 0;
  for (const auto& [op, span] : spans_of(commands, timing)) {
    if (span.first_load >= 0 && op > 0) {
      ++n_loading;
      n_ahead += span.first_load < before;
    }
    before = std::max(before, span.end);
  }
  return {n_ahead, n_loading};
}

TEST(SimNpuLowering, WeightsAreLoadedInTheSlackOfTheOpBefore) {
  const NpuProfileFile device = *device_with_sram(kSramBytes);
  const NpuCommands commands =
      *lower_decoder(decoder_plan(kShape, MethodKind::kDecode), device, true);
  const NpuTiming ahead = time_of(commands, device.profile, true);
  const NpuTiming one = time_of(commands, device.profile, false);
  const auto [n_ahead, n_loading] = ops_loaded_ahead(commands, ahead);
  ASSERT_GT(n_loading, 10);
  EXPECT_GT(n_ahead, n_loading * 3 / 4);
  EXPECT_EQ(ops_loaded_ahead(commands, one).first, 0);
  EXPECT_LT(ahead.elapsed_ps, one.elapsed_ps);
}

// Of an op whose weights are more than the ring holds, tiles are multiplied while others arrive.
TEST(SimNpuLowering, TilesArriveWhileOthersAreMultiplied) {
  const NpuProfileFile device = *device_with_sram(384 << 10);
  const NpuCommands commands =
      *lower_decoder(decoder_plan(kShape, MethodKind::kVerify), device, true);
  const std::uint64_t ring_bytes = commands.buffers.front().size_bytes;
  const NpuTiming timing = time_of(commands, device.profile, true);
  std::map<std::uint32_t, std::uint64_t> loaded;
  std::map<std::uint32_t, Picoseconds> last_load, first_product;
  for (const NpuEvent& event : timing.timeline) {
    const NpuCommand& c = commands.commands[event.command];
    if (is_load(c)) {
      loaded[c.op] += npu_accesses(commands, c).front().bytes();
      last_load[c.op] = std::max(last_load[c.op], event.end_ps);
    }
    if (c.kind == NpuCommandKind::kMatmul) {
      const auto [first, is_new] = first_product.emplace(c.op, event.end_ps);
      if (!is_new) first->second = std::min(first->second, event.end_ps);
    }
  }
  int n_large = 0;
  for (const auto& [op, bytes] : loaded) {
    const auto first = first_product.find(op);
    // Attention loads as much, of the cache, and is no matrix command.
    if (bytes <= ring_bytes || first == first_product.end()) continue;
    ++n_large;
    EXPECT_LT(first->second, last_load[op]) << commands.ops[op].name;
  }
  EXPECT_GT(n_large, 2);
}

// Bytes that the commands of each context use: weights, and the cache of layers.
std::vector<std::uint64_t> bytes_of_contexts(const NpuCommands& all) {
  const std::uint64_t layer_bytes = static_cast<std::uint64_t>(all.max_context) *
                                    all.cache.bytes_per_position() /
                                    static_cast<std::uint64_t>(all.cache.n_layers);
  std::vector<std::uint64_t> bytes;
  std::set<std::uint32_t> weights;
  std::set<std::uint64_t> layers;
  const auto close = [&] {
    std::uint64_t sum = layers.size() * layer_bytes + all.scratch_bytes;
    for (const std::uint32_t w : weights) sum += npu_weight_bytes(all.weights[w]);
    bytes.push_back(sum);
    weights.clear();
    layers.clear();
  };
  for (const NpuCommand& command : all.commands) {
    if (command.kind == NpuCommandKind::kSwitchContext) close();
    if (command.weight != kNpuNone) weights.insert(command.weight);
    for (const NpuAccess& access : npu_accesses(all, command))
      if (access.memory == NpuMemory::kCache) layers.insert(access.offset / 2);
  }
  close();
  return bytes;
}

TEST(SimNpuLowering, ASmallAddressWindowIsSwitched) {
  const Plan plan = decoder_plan(kShape, MethodKind::kDecode);
  const NpuProfileFile wide = *device_with_sram(kSramBytes);
  const NpuCommands whole = *lower_decoder(plan, wide, true);
  ASSERT_EQ(whole.contexts.size(), 1u);
  const std::uint64_t all_bytes = bytes_of_contexts(whole).front();
  for (const std::uint64_t parts : {2u, 4u}) {
    const std::uint64_t window = all_bytes / parts;
    const NpuProfileFile device = *device_with_sram(kSramBytes, window);
    const Result<NpuCommands> commands = lower_decoder(plan, device, true);
    ASSERT_TRUE(commands.ok()) << commands.status().message();
    EXPECT_GE(commands->contexts.size(), parts);
    const std::vector<std::uint64_t> bytes = bytes_of_contexts(*commands);
    ASSERT_EQ(bytes.size(), commands->contexts.size());
    for (const std::uint64_t used : bytes) EXPECT_LE(used, window);
    // To change the window costs time, which the profile tells.
    EXPECT_GT(time_of(*commands, device.profile, true).elapsed_ps,
              time_of(whole, wide.profile, true).elapsed_ps);
  }
}

TEST(SimNpuLowering, AWindowTooSmallForOneOpIsRefused) {
  const Plan plan = decoder_plan(kShape, MethodKind::kDecode);
  const NpuCommands whole = *lower_decoder(plan, *device_with_sram(kSramBytes), true);
  std::uint64_t largest = 0;
  for (const NpuWeight& w : whole.weights) largest = std::max(largest, npu_weight_bytes(w));
  // Every weight fits, the three of an op do not.
  const NpuProfileFile device = *device_with_sram(kSramBytes, largest + 1024);
  const Result<NpuCommands> commands = lower_decoder(plan, device, true);
  ASSERT_FALSE(commands.ok());
  EXPECT_EQ(commands.status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(commands.status().message(), HasSubstr("(linear "));
  EXPECT_THAT(commands.status().message(),
              HasSubstr("maps at most " + std::to_string(largest + 1024)));
}

TEST(SimNpuLowering, AWeightLargerThanAMappingIsRefused) {
  NpuProfileFile device = *device_with_sram(kSramBytes);
  device.profile.limits.max_map_bytes = 100 << 10;
  const Result<NpuCommands> commands =
      lower_decoder(decoder_plan(kShape, MethodKind::kDecode), device, true);
  ASSERT_FALSE(commands.ok());
  EXPECT_THAT(commands.status().message(), HasSubstr("maps at most 102400 at once"));
}

// Whatever moves starts at the device's alignment, so that nothing has to be copied to get there.
TEST(SimNpuLowering, EverythingIsAligned) {
  for (const std::uint64_t sram_bytes :
       {std::uint64_t{8} << 20, kSramBytes, std::uint64_t{384} << 10}) {
    const NpuProfileFile device = *device_with_sram(sram_bytes);
    for (const MethodKind kind : {MethodKind::kPrefill, MethodKind::kDecode, MethodKind::kVerify}) {
      const NpuCommands all = *lower_decoder(decoder_plan(kShape, kind), device, true);
      for (const NpuBuffer& buffer : all.buffers)
        EXPECT_EQ(buffer.offset_bytes % device.profile.limits.align_bytes, 0u) << buffer.name;
      for (const NpuCommand& command : all.commands) {
        for (const NpuAccess& access : npu_accesses(all, command)) {
          if (access.memory != NpuMemory::kSram) continue;
          EXPECT_EQ(access.offset % kNpuAlignment, 0u) << npu_command_name(command.kind);
        }
      }
    }
  }
}

}  // namespace
}  // namespace cria

// The simulated time against closed forms.
#include "npu_sim/npu_sim.h"

#include <gtest/gtest.h>

#include <cmath>

#include "format/npu_commands/npu_example.h"
#include "npu_sim/npu_cost.h"

namespace cria {
namespace {

// Round numbers: 10 GB/s, 100 MHz, nothing that waits but what a test asks for.
NpuProfile plain_profile() {
  NpuProfile p;
  p.name = "plain";
  p.clock.states = {{"fast", 100, 100, 100, 1}, {"slow", 50, 50, 50, 0.5}};
  p.matrix.modes[static_cast<std::size_t>(MatrixMode::kA8W4)] = MatrixShape{32, 32, 32, 1024};
  p.vector.contexts = 1;
  p.vector.lane_bytes = 128;
  p.vector.cycles_per_vector = {1, 1, 4, 4, 1, 1};
  p.sram = {1 << 20, 1, 1e9, 1e9};
  p.dma = {1, 100, 8, 0, {{64, 1.0}}, 1};
  p.dram = {10, 10, 0, 10};
  p.host.batch_max = 1000;
  p.limits.static_shapes = true;
  p.energy.static_mw = 1000;
  return p;
}

NpuTiming simulate(const NpuCommands& commands, const NpuProfile& profile,
                   const NpuSimOptions& options = {}) {
  Result<NpuTiming> timing = simulate_npu(commands, profile, {commands.max_tokens, 0}, options);
  EXPECT_TRUE(timing.ok()) << timing.status().message();
  return timing.ok() ? *timing : NpuTiming{};
}

// The example's commands [0, n).
NpuCommands first_commands(std::size_t n) {
  NpuCommands commands = example_npu_commands();
  commands.commands.resize(n);
  return commands;
}

constexpr double kBytesPerPs = 0.01;  // 10 GB/s
Picoseconds transfer_ps(std::uint64_t bytes) {
  return static_cast<Picoseconds>(std::ceil(static_cast<double>(bytes) / kBytesPerPs));
}

TEST(NpuSimTest, ATransferIsLatencyAndBytes) {
  NpuProfile profile = plain_profile();
  const NpuCommands one = first_commands(1);
  EXPECT_EQ(simulate(one, profile).elapsed_ps, transfer_ps(one.commands[0].n_bytes));
  profile.dma.latency_ns = 3;
  EXPECT_EQ(simulate(one, profile).elapsed_ps, 3000 + transfer_ps(one.commands[0].n_bytes));
  profile.dma.efficiency = {{64, 0.5}};
  EXPECT_EQ(simulate(one, profile).elapsed_ps, 3000 + 2 * transfer_ps(one.commands[0].n_bytes));
}

TEST(NpuSimTest, LatencyHidesBehindTransfersInFlight) {
  NpuProfile profile = plain_profile();
  profile.dma.latency_ns = 3;
  const NpuCommands two = first_commands(2);
  const Picoseconds both = 2 * transfer_ps(two.commands[0].n_bytes);
  EXPECT_EQ(simulate(two, profile).elapsed_ps, 3000 + both);
  profile.dma.max_outstanding = 1;
  EXPECT_EQ(simulate(two, profile).elapsed_ps, 2 * 3000 + both);
}

TEST(NpuSimTest, TwoQueuesShareThePathToDram) {
  const NpuCommands three = first_commands(3);  // two weights and the activations
  const std::uint64_t bytes = 2 * three.commands[0].n_bytes + 1024;
  EXPECT_NEAR(static_cast<double>(simulate(three, plain_profile()).elapsed_ps),
              static_cast<double>(transfer_ps(bytes)), 3.0);
}

TEST(NpuSimTest, AProductIsItsTiles) {
  NpuProfile profile = plain_profile();
  const NpuCommands example = example_npu_commands();
  profile.matrix.start_cycles = 5;
  profile.matrix.fill_cycles = 7;
  profile.matrix.preload_cycles = 11;
  const NpuCosts costs(example, profile, 0);
  const Result<NpuCost> cost = costs.of(example.commands[4], {4, 0});
  ASSERT_TRUE(cost.ok());
  // 4 rows are one tile of 32, 32 outputs one, 64 columns two: two tiles of 32 cycles of 10 ns.
  EXPECT_EQ(cost->fixed_ps, (5 + 7 + 11) * 10000);
  EXPECT_EQ(cost->work_ps, 2 * 32 * 10000);
  EXPECT_EQ(cost->macs, 4u * 32 * 64);
  EXPECT_EQ(cost->padded_macs, 32u * 32 * 64);
  const NpuCosts slow(example, profile, 1);
  EXPECT_EQ(slow.of(example.commands[4], {4, 0})->work_ps, 2 * cost->work_ps);
}

// Products of what is loaded side by side: the longer of the two decides, and one piece of the
// shorter.
TEST(NpuSimTest, PerfectOverlapIsTheLonger) {
  NpuProfile profile = plain_profile();
  NpuCommands example = example_npu_commands();
  profile.vector.cycles_per_vector = {};
  profile.dma.efficiency = {{64, 1.0}};
  const NpuTiming timing = simulate(example, profile);
  const Picoseconds product = 2 * 32 * 10000;
  // Products are far longer than transfers: they follow each other without a gap.
  const Picoseconds busy = timing.work.busy_ps[static_cast<std::size_t>(NpuEngine::kMatrix)];
  EXPECT_EQ(busy, 2 * product);
  EXPECT_LE(timing.elapsed_ps,
            2 * product + transfer_ps(2 * example.commands[0].n_bytes + 2 * 1024) + 10);
  EXPECT_GE(timing.elapsed_ps, 2 * product + transfer_ps(1024));
}

TEST(NpuSimTest, TheVectorEngineIsSlowerBesideTheMatrixEngine) {
  NpuProfile profile = plain_profile();
  profile.vector.share_beside_matrix = 0.5;
  NpuCommands example = example_npu_commands();
  // A second quantization beside the first product.
  NpuCommand again = example.commands[3];
  again.kind = NpuCommandKind::kAdd;
  again.x = again.out = {1, 0, 256};
  again.y = {1, 0, 256};
  again.after = {3};
  example.commands.insert(example.commands.begin() + 4, again);
  for (std::size_t i = 5; i < 8; ++i) {
    for (std::uint32_t& after : example.commands[i].after) after += after > 3 ? 1 : 0;
  }
  NpuSimOptions options;
  options.timeline = true;
  const NpuTiming timing = simulate(example, profile, options);
  for (const NpuEvent& event : timing.timeline) {
    if (event.command == 4) {
      EXPECT_EQ(event.end_ps - event.start_ps, 2 * 8 * 10000) << "8 vectors at half speed";
    }
  }
}

TEST(NpuSimTest, BytesAndTimeAreConserved) {
  NpuProfile profile = plain_profile();
  profile.host = {100, 50, 10, 0, 1000, 1};
  const NpuCommands example = example_npu_commands();
  NpuSimOptions options;
  options.timeline = true;
  const NpuTiming timing = simulate(example, profile, options);
  EXPECT_EQ(timing.work.bytes.weights, npu_weight_bytes(example.weights[0]));
  EXPECT_EQ(timing.work.bytes.activations, 2u * 1024);
  EXPECT_EQ(timing.work.macs, 4u * 64 * 64);
  Picoseconds sum = timing.submit_ps + timing.complete_ps;
  for (const NpuOpTime& op : timing.ops) sum += op.elapsed_ps;
  EXPECT_EQ(sum, timing.elapsed_ps);
  for (const Picoseconds busy : timing.work.busy_ps) EXPECT_LE(busy, timing.elapsed_ps);
  EXPECT_EQ(timing.timeline.size(), example.commands.size());
  for (const NpuEvent& event : timing.timeline) {
    EXPECT_GE(event.start_ps, timing.submit_ps);
    EXPECT_LE(event.end_ps, timing.elapsed_ps - timing.complete_ps);
  }
  EXPECT_NEAR(timing.work.joules.dram, static_cast<double>(timing.work.bytes.dram()) * 10e-12,
              1e-15);
  // 1 W while an engine works, idle power (none here) while the host does or an op is decoded.
  Picoseconds idle = timing.submit_ps + timing.complete_ps;
  for (const NpuOpTime& op : timing.ops) idle += op.idle_ps;
  EXPECT_GE(idle, 150'000'000 + 10'000);
  EXPECT_NEAR(timing.work.joules.fixed, static_cast<double>(timing.elapsed_ps - idle) * 1e-12,
              1e-15);
}

// Two ops, each in a submission of its own.
TEST(NpuSimTest, SubmissionsWaitWhereTheQueueIsFull) {
  NpuProfile profile = plain_profile();
  profile.energy.idle_mw = 100;
  const NpuCommands example = example_npu_commands();
  const NpuTiming together = simulate(example, profile);
  profile.host.submit_us = 100;
  profile.host.complete_us = 50;
  NpuSimOptions options;
  options.batch = 1;
  options.queue_depth = 2;
  const NpuTiming queued = simulate(example, profile, options);
  EXPECT_EQ(queued.n_submissions, 2u);
  // The second is on its way while the first one runs: it arrives 100 us after it, and takes the
  // rest.
  EXPECT_GE(queued.elapsed_ps, 250'000'000);
  EXPECT_LE(queued.elapsed_ps, 250'000'000 + together.elapsed_ps);
  options.queue_depth = 1;
  const NpuTiming waited = simulate(example, profile, options);
  EXPECT_EQ(waited.elapsed_ps, together.elapsed_ps + 2 * 150'000'000);
  EXPECT_EQ(waited.ops[1].idle_ps, 150'000'000) << "the end of the first, then its own submission";
  EXPECT_EQ(waited.ops[1].bound, NpuBound::kHost);
  EXPECT_NEAR(waited.work.joules.fixed, 1.0 * together.seconds() + 0.1 * 2 * 150e-6, 1e-12);
}

TEST(NpuSimTest, OpsThatAreNeverSubmittedAreRefused) {
  NpuCommands example = example_npu_commands();
  for (NpuCommand& command : example.commands) command.op = 1 - command.op;
  const Result<NpuTiming> timing =
      simulate_npu(example, plain_profile(), {4, 0}, {.batch = 1, .queue_depth = 1});
  EXPECT_EQ(timing.status().code(), ErrorCode::kInvalidArgument);
}

// Without it the second op's weights arrive while the first one computes.
TEST(NpuSimTest, OneOpAtATimeLoadsNothingAhead) {
  const NpuProfile profile = plain_profile();
  NpuCommands example = example_npu_commands();
  example.ops = {{"linear", "a", 0}, {"linear", "b", 0}, {"output", "logits", -1}};
  // The second half of the weights, its product, and the result.
  for (const std::size_t i : {1u, 5u}) example.commands[i].op = 1;
  for (std::size_t i = 6; i < example.commands.size(); ++i) example.commands[i].op = 2;
  const NpuTiming ahead = simulate(example, profile);
  NpuSimOptions options;
  options.one_op_at_a_time = true;
  options.timeline = true;
  const NpuTiming in_turn = simulate(example, profile, options);
  EXPECT_EQ(in_turn.elapsed_ps, ahead.elapsed_ps + transfer_ps(example.commands[1].n_bytes));
  for (const NpuEvent& event : in_turn.timeline) {
    for (const NpuEvent& other : in_turn.timeline) {
      if (example.commands[event.command].op < example.commands[other.command].op) {
        EXPECT_LE(event.end_ps, other.start_ps);
      }
    }
  }
}

TEST(NpuSimTest, TheHostChoosesFromEveryRowOfLogits) {
  NpuProfile profile = plain_profile();
  const NpuCommands example = example_npu_commands();
  const Picoseconds without = simulate(example, profile).elapsed_ps;
  profile.host.ns_per_logit = 2;
  const NpuTiming timing = simulate(example, profile);
  EXPECT_EQ(timing.choose_ps, 4 * 64 * 2000);
  EXPECT_EQ(timing.elapsed_ps, without + timing.choose_ps);
}

TEST(NpuSimTest, PassesAndHeadsStartByThemselves) {
  NpuProfile profile = plain_profile();
  profile.vector.start_cycles = 3;
  profile.vector.head_cycles = 50;
  NpuCommands example = example_npu_commands();
  example.cache = {1, 2, 32};
  const NpuCosts costs(example, profile, 0);
  NpuCommand command;
  command.n_cols = 64;
  command.x = command.y = command.z = command.out = {0, 0, 0};
  const auto fixed = [&](NpuCommandKind kind) {
    command.kind = kind;
    const Result<NpuCost> cost = costs.of(command, {1, 0});
    EXPECT_TRUE(cost.ok());
    return cost->fixed_ps;
  };
  EXPECT_EQ(fixed(NpuCommandKind::kAdd), 3 * 10000);
  EXPECT_EQ(fixed(NpuCommandKind::kRmsNorm), 2 * 3 * 10000);
  command.n_heads = 2;
  command.group = 4;
  EXPECT_EQ(fixed(NpuCommandKind::kAttendBegin), (3 + 2 * 4 * 50) * 10000);
  command.first_row = 64;
  EXPECT_EQ(fixed(NpuCommandKind::kAttendBegin), 3 * 10000) << "they are set up already";
}

// The slowest that a profile may say: sums of such times would not fit.
TEST(NpuSimTest, CallsOfHoursAreRefused) {
  const NpuCommands example = example_npu_commands();
  NpuProfile profile = plain_profile();
  profile.clock.states[0].matrix_mhz = 1;
  profile.matrix.modes[static_cast<std::size_t>(MatrixMode::kA8W4)] =
      MatrixShape{4096, 4096, 4096, 1};
  Result<NpuTiming> timing = simulate_npu(example, profile, {4, 0});
  ASSERT_EQ(timing.status().code(), ErrorCode::kUnsupported);
  EXPECT_NE(timing.status().message().find("over 7200 s"), std::string::npos);
  profile = plain_profile();
  profile.dram.npu_cap_gb_per_s = 1e-300;
  timing = simulate_npu(example, profile, {4, 0});
  EXPECT_EQ(timing.status().code(), ErrorCode::kUnsupported);
}

TEST(NpuSimTest, WhatTheProfileLacksIsRefused) {
  NpuProfile profile = plain_profile();
  EXPECT_EQ(
      simulate_npu(example_npu_commands(), profile, {4, 0}, {.clock_state = 2}).status().code(),
      ErrorCode::kInvalidArgument);
  profile.matrix.modes = {};
  EXPECT_EQ(simulate_npu(example_npu_commands(), profile, {4, 0}).status().code(),
            ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace cria

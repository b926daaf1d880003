#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "format/npu_commands/npu_example.h"
#include "format/npu_commands/npu_schedule.h"
#include "format/npu_commands/npu_verify.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

std::string refusal(const NpuCommands& commands) {
  const Status status = verify_npu_commands(commands);
  return status.ok() ? "" : status.message();
}

// Command 3, which has an operand x.
void begin_attention(NpuCommands& c, bool records) {
  c.cache = {1, 1, 64, KvType::kF16, KvType::kF16};
  NpuCommand& begin = c.commands[3];
  begin.kind = NpuCommandKind::kAttendBegin;
  begin.n_cols = 0;
  begin.n_heads = 1;
  begin.group = 2;
  begin.y = {};
  begin.records = records;
}

TEST(NpuCommandsTest, WhatIsWrittenIsRead) {
  const NpuCommands example = example_npu_commands();
  ASSERT_EQ(refusal(example), "");
  const std::vector<std::byte> bytes = encode_npu_commands(example);
  const Result<NpuCommands> read = decode_npu_commands(bytes, "example");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(*read, example);
}

TEST(NpuCommandsTest, EveryCutIsRefused) {
  const std::vector<std::byte> bytes = encode_npu_commands(example_npu_commands());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_npu_commands(std::span(bytes).first(size), "cut").ok()) << size;
  }
}

TEST(NpuCommandsTest, ANewerVersionIsToldApart) {
  std::vector<std::byte> bytes = encode_npu_commands(example_npu_commands());
  bytes[4] = std::byte{kNpuVersion + 1};
  const Result<NpuCommands> read = decode_npu_commands(bytes, "newer");
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.status().code(), ErrorCode::kUnsupported);
}

// Each fault, and a part of what is said of it.
TEST(NpuCommandsTest, FaultsAreNamed) {
  struct Fault {
    const char* says;
    std::function<void(NpuCommands&)> make;
  };
  const Fault faults[] = {
      {"without waiting for command 0", [](NpuCommands& c) { c.commands[4].after = {3}; }},
      {"without waiting for command 3", [](NpuCommands& c) { c.commands[4].after = {0}; }},
      {"without waiting for command 4", [](NpuCommands& c) { c.commands[6].after = {}; }},
      {"does not run before it", [](NpuCommands& c) { c.commands[4].after = {5}; }},
      {"does not run before it", [](NpuCommands& c) { c.commands[4].after = {4}; }},
      {"overlap", [](NpuCommands& c) { c.buffers[1].offset_bytes = 0; }},
      {"multiple of 128", [](NpuCommands& c) { c.buffers[2].offset_bytes += 64; }},
      {"multiple of 128", [](NpuCommands& c) { c.commands[0].out.offset = 64; }},
      {"SRAM has", [](NpuCommands& c) { c.sram_bytes -= 128; }},
      {"outside its buffer", [](NpuCommands& c) { c.buffers[1].size_bytes = 960; }},
      {"lives from", [](NpuCommands& c) { c.buffers[4].last = 5; }},
      {"did not load there", [](NpuCommands& c) { c.commands[5].z.offset = 0; }},
      {"did not load there", [](NpuCommands& c) { c.commands[1].dram_offset = 0; }},
      {"whole strips", [](NpuCommands& c) { c.commands[4].n_out = 16; }},
      {"were written", [](NpuCommands& c) { c.imports[0].size_bytes = 512; }},
      {"scratch", [](NpuCommands& c) { c.commands[2].dram_offset = 4; }},
      {"rows", [](NpuCommands& c) { c.commands[3].n_rows = 5; }},
      {"columns", [](NpuCommands& c) { c.commands[4].n_cols = 32; }},
      {"of a result", [](NpuCommands& c) { c.commands[6].dram_offset = 256; }},
      {"maps", [](NpuCommands& c) { c.contexts[0].mapped_bytes = 1; }},
      {"engine", [](NpuCommands& c) { c.commands[4].engine = NpuEngine::kDataDma; }},
      {"has records", [](NpuCommands& c) { c.commands[4].records = true; }},
      {"not negative", [](NpuCommands& c) { c.commands[4].scale = -0.125f; }},
      {"an operand x, expected none",  // records have what is to be known of queries
       [](NpuCommands& c) { begin_attention(c, true); }},
      {"operand x is buffer",
       [](NpuCommands& c) {
         begin_attention(c, false);
         c.commands[3].x = {};
       }},
      {"score rows for 2 heads and 300 positions",
       [](NpuCommands& c) {
         c.cache = {1, 1, 64, KvType::kF16, KvType::kF16};
         c.max_context = 300;  // three records a head
         c.commands[2].kind = NpuCommandKind::kLoadScores;
         c.commands[2].n_cols = 2 * 2 * kNpuRecord;
         c.commands[2].n_heads = 1;
         c.commands[2].group = 2;
       }},
      {"outside a loop",
       [](NpuCommands& c) {
         c.cache = {1, 1, 64, KvType::kF16, KvType::kF16};
         c.commands[2].kind = NpuCommandKind::kLoadCache;
         c.commands[2].n_cols = 0;
         c.commands[2].n_heads = 1;
       }},
  };
  for (const Fault& fault : faults) {
    NpuCommands commands = example_npu_commands();
    fault.make(commands);
    EXPECT_THAT(refusal(commands), HasSubstr(fault.says)) << &fault - faults;
    EXPECT_THAT(refusal(commands), testing::ContainsRegex("command [0-9]+|buffer|context|result"));
  }
}

TEST(NpuCommandsTest, WhatCannotBeReadIsNamed) {
  const NpuCommands commands = example_npu_commands();
  const std::vector<std::byte> whole = encode_npu_commands(commands);
  const auto at = [&](std::string_view text) {
    const auto* const bytes = reinterpret_cast<const char*>(whole.data());
    return std::string_view(bytes, whole.size()).rfind(text);
  };
  const auto told = [&](std::size_t offset, int value) {
    std::vector<std::byte> changed = whole;
    changed[offset] = static_cast<std::byte>(value);
    return decode_npu_commands(changed, "file").status().message();
  };
  const std::string& key = commands.weights[0].key;
  const std::string& buffer = commands.buffers[1].name;
  EXPECT_THAT(told(at(key), 0x1b), HasSubstr("weight 0: file: weight key is"));
  EXPECT_THAT(told(at(key), 0xff), HasSubstr("expected printable ASCII"));
  EXPECT_THAT(told(at(key) + key.size() + 1, 2), HasSubstr("weight 0: file: packed is 2"));
  EXPECT_THAT(told(at(buffer), '\n'), HasSubstr("buffer 1: file: buffer name is"));
}

// Overwriting what another engine still reads: the second half of the weight into the place of the
// first.
TEST(NpuCommandsTest, OverwritingNeedsTheReadersToBeDone) {
  NpuCommands commands = example_npu_commands();
  std::swap(commands.commands[1], commands.commands[4]);  // load 0, matmul 0 ... load 1, matmul 1
  commands.commands[1].after = {0};
  NpuCommands reordered = commands;
  reordered.commands = {commands.commands[0], commands.commands[2], commands.commands[3],
                        commands.commands[1], commands.commands[4], commands.commands[5],
                        commands.commands[6]};
  reordered.commands[2].after = {1};
  reordered.commands[3].after = {0, 2};
  reordered.commands[4].out.offset = 0;
  reordered.commands[5].z.offset = 0;
  reordered.commands[5].after = {4, 2};
  EXPECT_THAT(refusal(reordered), HasSubstr("which reads it"));
  reordered.commands[4].after = {3};
  EXPECT_EQ(refusal(reordered), "");
}

TEST(NpuScheduleTest, LoopsRunOncePerTwoTiles) {
  NpuLoop loop{0, 1, 8};
  EXPECT_EQ(npu_loop_iterations(loop, 1, 0), 1);
  EXPECT_EQ(npu_loop_iterations(loop, 1, 255), 1);
  EXPECT_EQ(npu_loop_iterations(loop, 1, 256), 2);
  EXPECT_EQ(npu_loop_iterations(loop, 8, 250), 2);
  NpuCommand command;
  command.n_rows = 8;
  command.tile = 1;
  EXPECT_EQ(npu_tile(command, 0, 8, 100).n, 0);
  EXPECT_EQ(npu_tile(command, 0, 8, 121).n, 1);
  EXPECT_EQ(npu_tile(command, 0, 8, 500).n, 128);
}

// Bytes of a valid stream, changed at random: refused, or still something that the verifier vouches
// for.
TEST(NpuCommandsTest, RandomChangesNeverCrash) {
  const std::vector<std::byte> bytes = encode_npu_commands(example_npu_commands());
  std::mt19937 random(7);
  int taken = 0;
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> changed = bytes;
    for (int k = 0; k < 1 + i % 3; ++k)
      changed[random() % changed.size()] = static_cast<std::byte>(random());
    taken += decode_npu_commands(changed, "changed").ok();
  }
  EXPECT_GT(taken, 0) << "names may be anything";
}

}  // namespace
}  // namespace cria

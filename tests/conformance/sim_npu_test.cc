// The simulated NPU computes what the cpu delegate computes, bit for bit, whatever its SRAM leaves
// room for.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "delegates/cpu/cpu_delegate.h"
#include "delegates/sim_npu/sim_npu_delegate.h"
#include "delegates/sim_npu/sim_npu_device.h"
#include "llm/program_model.h"
#include "lowered_decoder.h"
#include "runtime/test_program.h"

namespace cria {
namespace {

struct Case {
  std::uint64_t sram_bytes;
  bool a8;
  KvType kv_type;
  std::uint64_t window_bytes = 0;  // of addresses; 0: all fits
};

std::vector<float> logits_of(const std::string& path, const Case& c,
                             const std::vector<std::int32_t>& ids) {
  DelegateRegistry registry;
  EXPECT_TRUE(registry.add(cpu_delegate()).ok());
  EXPECT_TRUE(registry.add(sim_npu_delegate()).ok());
  ExecutorOptions options;
  options.n_threads = 2;
  options.options = {{"", "act", c.a8 ? "a8" : "a16"}};
  Result<std::shared_ptr<const Program>> program = Program::load(path);
  EXPECT_TRUE(program.ok());
  Result<std::unique_ptr<ProgramModel>> model = ProgramModel::create(*program, registry, options);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return {};
  KvCache cache = *KvCache::allocate(*kv_cache_bytes((*model)->info(), kContext));
  std::vector<float> all;
  std::span<const std::int32_t> rest = ids;
  for (const std::size_t n : {std::size_t{11}, std::size_t{1}, std::size_t{1}}) {
    std::vector<float> logits(static_cast<std::size_t>((*model)->info().n_vocab));
    const Status status = (*model)->forward(rest.first(n), cache, LogitRows::kLast, logits);
    EXPECT_TRUE(status.ok()) << status.message();
    all.insert(all.end(), logits.begin(), logits.end());
    rest = rest.subspan(n);
  }
  std::vector<float> logits(5 * static_cast<std::size_t>((*model)->info().n_vocab));
  EXPECT_TRUE((*model)->forward(rest.first(5), cache, LogitRows::kAll, logits).ok());
  all.insert(all.end(), logits.begin(), logits.end());
  return all;
}

// The device, with numbers in its memory that would spoil all that they get into.
std::shared_ptr<SimNpuDevice> used_device(const NpuProfileFile& profile, const Case& c) {
  std::shared_ptr<SimNpuDevice> device =
      SimNpuDevice::of_profile(profile.text, profile.profile.name).value();
  const std::size_t bytes = c.sram_bytes + (8 << 20);  // and strips of the largest product
  std::memset(device->borrow(bytes).value()->data(), 0xff, bytes);  // not a number
  return device;
}

class SimNpu : public ::testing::TestWithParam<Case> {};

TEST_P(SimNpu, EqualsTheCpuBitForBit) {
  const Case& c = GetParam();
  const NpuProfileFile device = *device_with_sram(c.sram_bytes, c.window_bytes);
  const std::shared_ptr<SimNpuDevice> used = used_device(device, c);
  int n_switching = 0;
  for (int first_encoding = 0; first_encoding < kEncodingCount; first_encoding += 5) {
    DecoderShape shape{288, 320, 67, 6, 2, 64};
    shape.first_encoding = first_encoding;
    shape.kv_type = c.kv_type;
    const WeightBytes weights = random_weights(decoder_plan(shape, MethodKind::kVerify), 3);
    TemporaryFile cpu, npu;
    ASSERT_TRUE(write_decoder(cpu.path(), shape, weights, cpu_delegate()->name).ok());
    const Status written = write_lowered(npu.path(), shape, weights, device, c.a8);
    ASSERT_TRUE(written.ok()) << written.message();
    const auto decode = lower_decoder(decoder_plan(shape, MethodKind::kDecode), device, c.a8);
    n_switching += decode->contexts.size() > 1;
    std::mt19937 random(5);
    std::vector<std::int32_t> ids(18);
    for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % 67);
    EXPECT_EQ(logits_of(npu.path(), c, ids), logits_of(cpu.path(), c, ids))
        << "encodings from " << first_encoding;
  }
  EXPECT_EQ(n_switching > 0, c.window_bytes > 0);
}

// Whatever the two share, and however often a call goes from one to the other.
TEST_P(SimNpu, SharedWithTheCpuItStillDoes) {
  const Case& c = GetParam();
  const NpuProfileFile device = *device_with_sram(c.sram_bytes, c.window_bytes);
  const std::shared_ptr<SimNpuDevice> used = used_device(device, c);
  DecoderShape shape{288, 320, 67, 6, 2, 64, 3, c.kv_type};
  const WeightBytes weights = random_weights(decoder_plan(shape, MethodKind::kVerify), 3);
  std::mt19937 random(5);
  std::vector<std::int32_t> ids(18);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % 67);
  TemporaryFile cpu;
  ASSERT_TRUE(write_decoder(cpu.path(), shape, weights, cpu_delegate()->name).ok());
  const std::vector<float> expected = logits_of(cpu.path(), c, ids);
  for (std::uint32_t seed = 0; seed < 6; ++seed) {
    // Seed 0: the heads on the device, softmax on the processor. 1: all on the processor.
    const OnNpu on_npu = [seed](const Plan& plan, std::size_t op) {
      if (plan.ops[op].kind == PlanOpKind::kSoftmax || seed == 1) return false;
      return seed == 0 || std::mt19937(seed * 1000 + static_cast<std::uint32_t>(op))() % 3 != 0;
    };
    TemporaryFile shared;
    const Status written = write_shared(shared.path(), shape, weights, device, c.a8, on_npu);
    ASSERT_TRUE(written.ok()) << written.message();
    EXPECT_EQ(logits_of(shared.path(), c, ids), expected) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, SimNpu,
                         ::testing::Values(Case{8 << 20, true, KvType::kF16},
                                           Case{8 << 20, false, KvType::kF16},
                                           Case{8 << 20, true, KvType::kQ8},
                                           Case{384 << 10, true, KvType::kF16},
                                           Case{384 << 10, false, KvType::kQ8},
                                           Case{8 << 20, true, KvType::kF16, 1 << 20},
                                           Case{384 << 10, true, KvType::kQ8, 1 << 20}));

}  // namespace
}  // namespace cria

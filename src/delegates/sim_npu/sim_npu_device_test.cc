#include "delegates/sim_npu/sim_npu_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace cria {
namespace {

using testing::HasSubstr;

std::string reference_text() { return load_npu_profile("hexagon-v79").value().text; }

TEST(SimNpuDevice, ThereIsOneForAProfileAsLongAsSomebodyHoldsIt) {
  const std::string text = reference_text();
  auto device = SimNpuDevice::of_profile(text, "profile").value();
  EXPECT_EQ(device->profile().name, "hexagon-v79");
  EXPECT_EQ(SimNpuDevice::of_profile(text, "profile").value(), device);
  EXPECT_NE(SimNpuDevice::of_profile(text + "\n# another\n", "profile").value(), device);
  const std::weak_ptr<SimNpuDevice> watched = device;
  device.reset();
  EXPECT_TRUE(watched.expired());
  EXPECT_THAT(SimNpuDevice::of_profile("name = 5", "profile x").status().message(),
              HasSubstr("profile x: "));
}

TEST(SimNpuDevice, CallsRunInTheSameMemoryUnlessAtOnce) {
  SimNpuDevice device(load_npu_profile("hexagon-v79").value().profile);
  ASSERT_TRUE(device.reserve(1 << 20).ok());
  std::byte* const first = device.borrow(1 << 20).value()->data();
  for (const std::size_t bytes : {1 << 20, 1 << 10, 1 << 20})
    EXPECT_EQ(device.borrow(bytes).value()->data(), first);
  const auto one = device.borrow(1 << 20).value();
  const auto other = device.borrow(1 << 20).value();
  EXPECT_EQ(one->data(), first);
  EXPECT_TRUE(other->data() + (1 << 20) <= first || other->data() >= first + (1 << 20));
  const auto larger = device.borrow(1 << 22).value();
  larger->data()[(1 << 22) - 1] = std::byte{1};
}

TEST(SimNpuDevice, ACallSeesNothingOfThoseBefore) {
  SimNpuDevice device(load_npu_profile("hexagon-v79").value().profile);
  constexpr std::size_t kBytes = 1 << 16;
  std::memset(device.borrow(kBytes).value()->data(), 0xff, kBytes);
  const auto memory = device.borrow(kBytes).value();
  EXPECT_TRUE(std::all_of(memory->data(), memory->data() + kBytes,
                          [](std::byte b) { return b == std::byte{0}; }));
}

TEST(SimNpuDevice, SaysHowMuchItCannotHave) {
  SimNpuDevice device(load_npu_profile("hexagon-v79").value().profile);
  const Status status = device.reserve(std::size_t{1} << 60);
  EXPECT_EQ(status.code(), ErrorCode::kOutOfResources);
  EXPECT_THAT(status.message(), HasSubstr("1152921504606846976"));
  EXPECT_TRUE(device.borrow(64).ok());
}

}  // namespace
}  // namespace cria

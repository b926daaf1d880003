#include "machine/energy_counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace cria {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// A tree as /sys has it.
class EnergyCounters : public testing::Test {
 protected:
  EnergyCounters() : root_(fs::temp_directory_path() / "cria_energy_counters_test") {
    fs::remove_all(root_);
  }
  ~EnergyCounters() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << "\n";
  }
  void add_package(const std::string& zone, const std::string& name) {
    write("class/powercap/" + zone + "/name", name);
    write("class/powercap/" + zone + "/energy_uj", "1000000");
    write("class/powercap/" + zone + "/max_energy_range_uj", "262143328850");
  }
  Result<std::vector<EnergyCounter>> find() const { return find_energy_counters(root_.string()); }

  fs::path root_;
};

TEST_F(EnergyCounters, NothingIsSaidToBeNothing) {
  const auto found = find();
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(found.status().message(), HasSubstr("no powercap package and no battery"));
}

TEST_F(EnergyCounters, PackagesCountAndTheirPartsDoNot) {
  add_package("intel-rapl:0", "package-0");
  add_package("intel-rapl:0:0", "core");
  add_package("intel-rapl:1", "package-1");
  add_package("intel-rapl:2", "psys");
  add_package("intel-rapl-mmio:0", "package-0");
  const auto found = find();
  ASSERT_TRUE(found.ok()) << found.status().message();
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].name, "package-0");
  EXPECT_EQ((*found)[1].name, "package-1");
  EXPECT_DOUBLE_EQ((*found)[0].wraps_at, 262143328850.0);
}

TEST_F(EnergyCounters, AWrapIsFollowed) {
  EnergyCounter counter;
  counter.wraps_at = 1000e6;
  EXPECT_DOUBLE_EQ(counted_joules(counter, 10e6, 15e6, 1), 5);
  EXPECT_DOUBLE_EQ(counted_joules(counter, 999e6, 2e6, 1), 3);
  counter.wraps_at = 0;
  EXPECT_DOUBLE_EQ(counted_joules(counter, 999e6, 2e6, 1), 0);
}

TEST_F(EnergyCounters, ACounterThatCannotBeReadIsNamed) {
  write("class/powercap/intel-rapl:0/name", "package-0");
  const auto found = find();
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.status().message(), HasSubstr("intel-rapl:0/energy_uj"));
  EXPECT_THAT(found.status().message(), HasSubstr("root"));
}

TEST_F(EnergyCounters, ABatteryCountsWhileItDischarges) {
  write("class/power_supply/AC/type", "Mains");
  write("class/power_supply/BAT0/type", "Battery");
  write("class/power_supply/BAT0/status", "Charging");
  write("class/power_supply/BAT0/energy_now", "50000000");
  const auto charging = find();
  ASSERT_FALSE(charging.ok());
  EXPECT_THAT(charging.status().message(), HasSubstr("BAT0 does not discharge"));
  write("class/power_supply/BAT0/status", "Discharging");
  const auto found = find();
  ASSERT_TRUE(found.ok()) << found.status().message();
  ASSERT_EQ(found->size(), 1u);
  // 1 mWh is 3.6 J.
  EXPECT_DOUBLE_EQ(counted_joules((*found)[0], 50000000, 49999000, 1), 3.6);
  EXPECT_DOUBLE_EQ(counted_joules((*found)[0], 49999000, 50000000, 1), 0);
}

TEST_F(EnergyCounters, ABatteryMayCountCharge) {
  write("class/power_supply/BAT1/type", "Battery");
  write("class/power_supply/BAT1/status", "Discharging");
  write("class/power_supply/BAT1/charge_now", "3000000");
  write("class/power_supply/BAT1/voltage_now", "3850000");
  const auto found = find();
  ASSERT_TRUE(found.ok()) << found.status().message();
  // 1 mAh at 3.85 V.
  EXPECT_DOUBLE_EQ(counted_joules((*found)[0], 3000000, 2999000, 3.85), 3.6 * 3.85);
}

}  // namespace
}  // namespace cria

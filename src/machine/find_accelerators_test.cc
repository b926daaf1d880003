#include "machine/find_accelerators.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace cria {
namespace {

namespace fs = std::filesystem;

// A tree as /sys and /dev have it.
class FindAccelerators : public testing::Test {
 protected:
  FindAccelerators() : root_(fs::temp_directory_path() / "cria_find_accelerators_test") {
    fs::remove_all(root_);
    fs::create_directories(root_ / "dev");
  }
  ~FindAccelerators() override { fs::remove_all(root_); }

  // /sys/class/accel/NODE is a link into /sys/devices, whose device has a link to its driver.
  void add(const std::string& node, const std::string& driver, const std::string& vendor,
           const std::string& id) {
    const fs::path device = root_ / "sys/devices" / ("pci-" + node);
    fs::create_directories(device / "accel" / node);
    fs::create_directory_symlink("../..", device / "accel" / node / "device");
    if (!driver.empty()) {
      const fs::path driver_folder = root_ / "sys/bus/pci/drivers" / driver;
      fs::create_directories(driver_folder);
      fs::create_directory_symlink(driver_folder, device / "driver");
    }
    if (!vendor.empty()) std::ofstream(device / "vendor") << vendor << "\n";
    if (!id.empty()) std::ofstream(device / "device") << id << "\n";
    fs::create_directories(root_ / "sys/class/accel");
    fs::create_directory_symlink(device / "accel" / node, root_ / "sys/class/accel" / node);
  }
  std::vector<Accelerator> find() const {
    return find_accelerators((root_ / "sys").string(), (root_ / "dev").string());
  }

  fs::path root_;
};

TEST_F(FindAccelerators, NothingWhereThereIsNothing) {
  EXPECT_TRUE(find().empty());
  EXPECT_TRUE(find_accelerators("/nowhere", "/nowhere").empty());
}

TEST_F(FindAccelerators, DriversAndDevicesAreNamed) {
  add("accel1", "amdxdna", "0x1022", "0x17f0");
  add("accel0", "intel_vpu", "0x8086", "0x643e");
  add("accel2", "rocket", "", "");
  const auto found = find();
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].node, "accel0");
  EXPECT_EQ(found[0].driver, "intel_vpu");
  EXPECT_EQ(found[0].pci_id, "8086:643e");
  EXPECT_EQ(found[0].profile, "intel-npu-4000");
  EXPECT_EQ(found[1].device, "AMD XDNA2");
  EXPECT_EQ(found[1].profile, "xdna2");
  EXPECT_EQ(found[2].pci_id, "");
  EXPECT_EQ(found[2].profile, "rk3588");
}

TEST_F(FindAccelerators, AnUnknownDeviceIsListedWithoutAProfile) {
  add("accel0", "intel_vpu", "0x8086", "0xffff");
  add("accel1", "new_npu", "0x1234", "0x5678");
  add("accel2", "", "", "");
  const auto found = find();
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].device, "Intel NPU");
  EXPECT_EQ(found[0].profile, "");
  EXPECT_EQ(found[1].driver, "new_npu");
  EXPECT_EQ(found[1].device, "");
  EXPECT_EQ(found[2].driver, "?");
}

TEST_F(FindAccelerators, HexagonIsFoundByItsNodes) {
  std::ofstream(root_ / "dev/fastrpc-cdsp") << "";
  std::ofstream(root_ / "dev/null0") << "";
  const auto found = find();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].node, "fastrpc-cdsp");
  EXPECT_EQ(found[0].device, "Qualcomm Hexagon");
}

}  // namespace
}  // namespace cria

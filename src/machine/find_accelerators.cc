#include "machine/find_accelerators.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace cria {
namespace {

namespace fs = std::filesystem;

// Drivers of the accel class. An empty pci_id matches any device of the driver, so it comes last.
struct KnownDevice {
  const char* driver;
  const char* pci_id;
  const char* device;
  const char* profile;
};
constexpr KnownDevice kKnown[] = {
    {"intel_vpu", "8086:7d1d", "Intel NPU 3720 (Meteor Lake)", ""},
    {"intel_vpu", "8086:ad1d", "Intel NPU 3720 (Arrow Lake)", ""},
    {"intel_vpu", "8086:643e", "Intel NPU 4000 (Lunar Lake)", "intel-npu-4000"},
    {"intel_vpu", "8086:b03e", "Intel NPU 5 (Panther Lake)", ""},
    {"intel_vpu", "", "Intel NPU", ""},
    {"amdxdna", "1022:1502", "AMD XDNA", ""},
    {"amdxdna", "1022:17f0", "AMD XDNA2", "xdna2"},
    {"amdxdna", "", "AMD XDNA", ""},
    {"rocket", "", "Rockchip RK3588 NPU", "rk3588"},
    {"qaic", "", "Qualcomm Cloud AI", ""},
    {"habanalabs", "", "Intel Gaudi", ""},
};

// "0x643e\n" -> "643e"; empty where the file does not exist.
std::string read_id(const fs::path& path) {
  std::ifstream file(path);
  std::string text;
  file >> text;
  return text.starts_with("0x") && text.size() <= 10 ? text.substr(2) : "";
}

Accelerator describe(const std::string& node, const fs::path& device) {
  Accelerator found;
  found.node = node;
  std::error_code error;
  const fs::path driver = fs::read_symlink(device / "driver", error);
  found.driver = error ? "?" : driver.filename().string();
  const std::string vendor = read_id(device / "vendor");
  const std::string id = read_id(device / "device");
  if (!vendor.empty() && !id.empty()) found.pci_id = vendor + ":" + id;
  for (const KnownDevice& known : kKnown) {
    if (found.driver != known.driver) continue;
    if (*known.pci_id != '\0' && found.pci_id != known.pci_id) continue;
    found.device = known.device;
    found.profile = known.profile;
    break;
  }
  return found;
}

}  // namespace

std::vector<Accelerator> find_accelerators(const std::string& sysfs_root,
                                           const std::string& dev_root) {
  std::vector<Accelerator> found;
  std::error_code error;
  const fs::path accel = fs::path(sysfs_root) / "class" / "accel";
  for (fs::directory_iterator entry(accel, error), end; !error && entry != end;
       entry.increment(error)) {
    found.push_back(describe(entry->path().filename().string(), entry->path() / "device"));
  }
  error.clear();
  for (fs::directory_iterator entry(dev_root, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("fastrpc-cdsp") || name == "adsprpc-smd")
      found.push_back({name, "fastrpc", "", "Qualcomm Hexagon", ""});
  }
  std::ranges::sort(found, {}, &Accelerator::node);
  return found;
}

}  // namespace cria

// NPUs that the operating system shows: Linux's accel class, and the nodes of Qualcomm's driver.
#pragma once

#include <string>
#include <vector>

namespace cria {

struct Accelerator {
  std::string node;     // "accel0", "fastrpc-cdsp"
  std::string driver;   // "intel_vpu"; "?": the system does not say
  std::string pci_id;   // "8086:643e", or empty
  std::string device;   // "Intel NPU 4000", or empty: not one that cria knows
  std::string profile;  // the name of its NPU profile, or empty
};

// `sysfs_root`: "/sys"; `dev_root`: "/dev". What cannot be read is left out. Sorted by node.
std::vector<Accelerator> find_accelerators(const std::string& sysfs_root,
                                           const std::string& dev_root);

}  // namespace cria

// What there is to run on: this machine's processor, NPUs that the system shows, and the profiles
// of NPUs that can be simulated.
#pragma once

#include <string>
#include <vector>

#include "cria/status.h"

namespace cria {

struct CpuDevice {
  std::string name;  // "AMD EPYC"
  std::string isa;   // "avx512vnni": what cria's kernels use
  int n_cores = 0;   // that this process may use
};

// A real NPU. cria has no delegate for one yet; its profile, if there is one, can be simulated.
struct NpuDevice {
  std::string node;     // "accel0"
  std::string driver;   // "intel_vpu"; "?": the system does not say
  std::string pci_id;   // "8086:643e", or empty
  std::string device;   // "Intel NPU 4000 (Lunar Lake)", or empty
  std::string profile;  // "intel-npu-4000", or empty
};

// How many fields of a profile are of a provenance (docs/npu-profiles.md).
struct ProvenanceCount {
  std::string provenance;  // "measured"
  int n_fields = 0;
};

// A device for `--device sim:NAME`, with the figures that matter most.
struct ProfileSummary {
  std::string name;  // "hexagon-v79"
  std::string title;
  std::string vendor;
  int year = 0;
  std::string status;  // "fitted", "compared" or "illustrative"
  std::string path;
  double int8_tops = 0;  // operations a second, two a multiply-add; 0: no such mode
  double f16_tflops = 0;
  double sram_mb = 0;
  double dram_gb_per_s = 0;  // that the NPU reaches
  std::vector<ProvenanceCount> provenance;
};

struct DeviceList {
  CpuDevice cpu;
  std::vector<NpuDevice> npus;
  std::vector<ProfileSummary> profiles;  // by name
  std::vector<std::string> problems;     // profiles that could not be read, and why
};

struct DeviceQuery {
  std::string sysfs_root = "/sys";
  std::string dev_root = "/dev";
};

// Never fails: what cannot be read is not there, or a problem in the list.
DeviceList list_devices(const DeviceQuery& query = {});

}  // namespace cria

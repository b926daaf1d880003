#include "cria/devices.h"

#include <algorithm>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "format/npu_profile/npu_profile.h"
#include "machine/find_accelerators.h"

namespace cria {
namespace {

double tera_ops(const NpuProfile& profile, MatrixMode mode) {
  return profile.matrix.mode(mode) ? 2 * profile.peak_macs_per_s(mode, 0) / 1e12 : 0;
}

std::vector<ProvenanceCount> count_provenance(const NpuProfile& profile) {
  std::vector<ProvenanceCount> counts;
  for (Provenance provenance : {Provenance::kMeasured, Provenance::kVendor, Provenance::kDerived,
                                Provenance::kFitted, Provenance::kGuess}) {
    const auto n = std::ranges::count(profile.sources, provenance, &FieldSource::provenance);
    counts.push_back({std::string(provenance_name(provenance)), static_cast<int>(n)});
  }
  return counts;
}

ProfileSummary summarize(const NpuProfileFile& file) {
  const NpuProfile& profile = file.profile;
  ProfileSummary summary;
  summary.name = profile.name;
  summary.title = profile.title;
  summary.vendor = profile.vendor;
  summary.year = static_cast<int>(profile.year);
  summary.status = profile.status;
  summary.path = file.path;
  summary.int8_tops = tera_ops(profile, MatrixMode::kA8W8);
  summary.f16_tflops = tera_ops(profile, MatrixMode::kF16);
  summary.sram_mb = static_cast<double>(profile.sram.bytes) / (1 << 20);
  summary.dram_gb_per_s = profile.dram_bytes_per_s(0) / 1e9;
  summary.provenance = count_provenance(profile);
  return summary;
}

}  // namespace

DeviceList list_devices(const DeviceQuery& query) {
  DeviceList list;
  list.cpu = {cpu_model_name(), isa_name(best_isa()), available_cores()};
  for (const Accelerator& found : find_accelerators(query.sysfs_root, query.dev_root))
    list.npus.push_back({found.node, found.driver, found.pci_id, found.device, found.profile});
  for (const std::string& path : list_npu_profiles()) {
    const auto file = load_npu_profile(path);
    if (file.ok())
      list.profiles.push_back(summarize(*file));
    else
      list.problems.push_back(file.status().message());
  }
  return list;
}

}  // namespace cria

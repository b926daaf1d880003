#include "machine/energy_counters.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

namespace cria {
namespace {

namespace fs = std::filesystem;

std::string read_word(const fs::path& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(entry->path());
  }
  std::ranges::sort(entries);
  return entries;
}

// intel-rapl:0 is a package, intel-rapl:0:1 a part of it; psys would count packages twice.
std::vector<EnergyCounter> powercap_counters(const fs::path& root, std::string& problem) {
  std::vector<EnergyCounter> counters;
  for (const fs::path& zone : entries_of(root / "class/powercap")) {
    const std::string folder = zone.filename().string();
    if (std::ranges::count(folder, ':') != 1 || folder.find("mmio") != std::string::npos) continue;
    const std::string name = read_word(zone / "name");
    if (!name.starts_with("package")) continue;
    EnergyCounter counter;
    counter.name = name;
    counter.path = (zone / "energy_uj").string();
    const Result<double> now = read_number(counter.path);
    if (!now.ok()) {
      problem = now.status().message() + " (Linux lets only root read it)";
      continue;
    }
    const Result<double> range = read_number((zone / "max_energy_range_uj").string());
    counter.wraps_at = range.ok() ? *range : 0;
    counters.push_back(counter);
  }
  return counters;
}

std::vector<EnergyCounter> battery_counters(const fs::path& root, std::string& problem) {
  std::vector<EnergyCounter> counters;
  for (const fs::path& supply : entries_of(root / "class/power_supply")) {
    if (read_word(supply / "type") != "Battery") continue;
    EnergyCounter counter;
    counter.name = supply.filename().string();
    counter.shrinks = true;
    counter.joules_per_unit = 3600e-6;  // microwatt hours, or microampere hours times volts
    if (read_word(supply / "status") != "Discharging") {
      problem = "battery " + counter.name + " does not discharge";
      continue;
    }
    counter.path = (supply / "energy_now").string();
    if (!read_number(counter.path).ok()) {
      counter.path = (supply / "charge_now").string();
      counter.voltage_path = (supply / "voltage_now").string();
      if (!read_number(counter.path).ok() || !read_number(counter.voltage_path).ok()) {
        problem = "battery " + counter.name + " has no energy_now, nor charge_now and voltage_now";
        continue;
      }
    }
    counters.push_back(counter);
  }
  return counters;
}

}  // namespace

Result<double> read_number(const std::string& path) {
  std::ifstream file(path);
  double number = 0;
  if (!(file >> number) || !std::isfinite(number) || number < 0)
    return io_error("{}: cannot read a number", path);
  return number;
}

double counted_joules(const EnergyCounter& counter, double before, double after, double volts) {
  double units = counter.shrinks ? before - after : after - before;
  if (!counter.shrinks && units < 0 && counter.wraps_at > 0) units += counter.wraps_at;
  const double factor = counter.voltage_path.empty() ? 1 : volts;
  // A battery that is charged meanwhile, or a counter that was reset: nothing that can be told.
  return std::max(0.0, units) * factor * counter.joules_per_unit;
}

Result<std::vector<EnergyCounter>> find_energy_counters(const std::string& sysfs_root) {
  std::string problem;
  std::vector<EnergyCounter> counters = powercap_counters(sysfs_root, problem);
  if (counters.empty()) counters = battery_counters(sysfs_root, problem);
  if (!counters.empty()) return counters;
  if (!problem.empty()) return unsupported("energy is not measured: {}", problem);
  return unsupported(
      "energy is not measured: {} has no powercap package and no battery that discharges",
      sysfs_root);
}

}  // namespace cria

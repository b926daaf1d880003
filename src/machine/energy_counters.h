// Counters of energy in sysfs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace cria {

// One counter: microjoules that grow and wrap (powercap), or that shrink (a battery's charge).
struct EnergyCounter {
  std::string name;
  std::string path;          // of the number
  std::string voltage_path;  // of batteries that count charge: microvolts; else empty
  double joules_per_unit = 1e-6;
  double wraps_at = 0;  // the number after which it starts at 0 again; 0: never
  bool shrinks = false;
};

// Packages of powercap (their parts are inside them), or else batteries that discharge.
// kUnsupported: neither can be read; the message says what was there.
Result<std::vector<EnergyCounter>> find_energy_counters(const std::string& sysfs_root);

// Joules from reading `before` to reading `after` of a counter.
double counted_joules(const EnergyCounter& counter, double before, double after, double volts);

// kIo: not there any more, or no number.
Result<double> read_number(const std::string& path);

}  // namespace cria

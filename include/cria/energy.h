// Energy that this machine measures itself: the processor's counters (Linux powercap) or the
// battery.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cria/status.h"

namespace cria {

// Thread-safety: one caller at a time.
class EnergyMeter {
 public:
  // What there is under `sysfs_root` ("/sys"): powercap packages before a battery that discharges.
  // kUnsupported says what was looked for and why it cannot be used (absent, or readable by root
  // alone).
  static Result<EnergyMeter> open(const std::string& sysfs_root = "/sys");
  EnergyMeter(EnergyMeter&&) noexcept;
  EnergyMeter& operator=(EnergyMeter&&) noexcept;
  ~EnergyMeter();

  // What is measured: "powercap: package-0", "battery BAT0: the whole machine".
  const std::string& source() const;
  // Joules since it was opened. Counters that wrap are followed as long as this is called once a
  // wrap (minutes to hours). A battery counts in steps of about 36 J: short runs cannot be measured
  // with it. kIo: a counter cannot be read any more.
  Result<double> joules();

 private:
  class Impl;
  explicit EnergyMeter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cria

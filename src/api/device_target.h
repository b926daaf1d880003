// The target of a device by its name.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "targets/target.h"

namespace cria {

// "cpu", or "sim:" and a profile (format/npu_profile).
struct DeviceTarget {
  std::unique_ptr<Target> npu;  // null: the CPU
  const Target& target() const;
};
// `pins`: CompileOptions::pins.
using DevicePins = std::vector<std::pair<std::string, std::string>>;
Result<DeviceTarget> device_target(const std::string& device, const DevicePins& pins = {});

}  // namespace cria

// The `sim_npu` target: graphs become command streams (format/npu_commands) for a device that a
// profile describes.
#pragma once

#include <memory>

#include "format/npu_profile/npu_profile.h"
#include "targets/target.h"

namespace cria {

inline constexpr const char* kSimNpuDelegateId = "CriaSimNpuBackend";

// Takes what the `cpu` target takes, where the device has a mode and a group size for it
// (lower_to_npu.h).
std::unique_ptr<Target> sim_npu_target(NpuProfileFile profile);

}  // namespace cria

// The `sim_npu` target: graphs become command streams (format/npu_commands) for a device that a
// profile describes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "format/npu_profile/npu_profile.h"
#include "format/plan/plan.h"
#include "targets/target.h"

namespace cria {

inline constexpr const char* kSimNpuDelegateId = "CriaSimNpuBackend";

// Who shares a method with the device.
struct NpuSharing {
  // By op of a plan, whether the device runs it; else the processor beside it does. Empty: the
  // device runs all.
  std::function<Result<std::vector<bool>>(const Plan&)> on_npu;
  int split_attention = 0;      // MethodRequest::split_attention
  std::string cpu_delegate_id;  // of the delegate that runs plans
};

// Takes what the `cpu` target takes, where the device has a mode and a group size for it
// (lower_to_npu.h).
// A method that is shared becomes a chain of parts on one scratch area and one cache, which lies
// with the device that attends. A matrix that both multiply with is there twice, in the order of
// each.
std::unique_ptr<Target> sim_npu_target(NpuProfileFile profile, NpuSharing sharing = {});

}  // namespace cria

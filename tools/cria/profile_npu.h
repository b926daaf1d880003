// A profile in simulated time (cria/npu_profile.h), as text, JSON or trace.
#pragma once

#include <string>

#include "cria/npu_profile.h"

namespace cria::cli {

// Tables for people.
std::string npu_profile_text(const NpuProfileReport& report);
// docs/profile.md has the fields.
std::string npu_profile_json(const NpuProfileReport& report);
// Chrome's trace format: a process for each phase, a track for each engine.
std::string npu_profile_trace(const NpuProfileReport& report);

}  // namespace cria::cli

// What no single field of a profile can say wrong: fields that contradict each other.
#pragma once

#include "format/npu_profile/npu_profile.h"

namespace cria {

// Names the field, its value and what the others allow.
Status check_npu_profile(const NpuProfile& profile);

}  // namespace cria

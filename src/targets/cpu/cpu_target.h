// The `cpu` target: graphs become plans (format/plan) for delegates/cpu.
#pragma once

#include "targets/target.h"

namespace cria {

inline constexpr const char* kCpuDelegateId = "CriaCpuBackend";

// Takes every op of a lowered Llama graph and every encoding. Immutable, lives for ever.
const Target& cpu_target();

}  // namespace cria

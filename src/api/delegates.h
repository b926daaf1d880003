// The devices that this build of cria runs programs on.
#pragma once

#include "runtime/delegate_registry.h"

namespace cria {

// cria's own delegates, registered once. Thread-safe.
const DelegateRegistry& builtin_delegates();

}  // namespace cria

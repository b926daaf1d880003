// The `null` target: takes nothing. The folder to clone for a new device (README.md).
#pragma once

#include "targets/target.h"

namespace cria {

const Target& null_target();

}  // namespace cria

// The delegate that runs nothing: the skeleton to clone for a device (README.md).
#pragma once

#include "cria/delegate.h"

namespace cria {

// "CriaNullBackend". The table is static; add it to a DelegateRegistry.
const cria_delegate* null_delegate();

}  // namespace cria

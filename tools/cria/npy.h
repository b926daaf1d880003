// NumPy's .npy files, as far as one row of floats needs them.
#pragma once

#include <span>
#include <string>

#include "cria/status.h"

namespace cria::cli {

// Writes `values` as a one-dimensional little-endian float32 array. Errors name the path.
Status write_npy(const std::string& path, std::span<const float> values);

}  // namespace cria::cli

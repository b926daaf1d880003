// A simulated run as a picture.
#pragma once

#include <string>

#include "cria/npu.h"

namespace cria::cli {

// A whole SVG file: tokens a second, clock, temperatures, joules a token over time, one panel each.
std::string simulate_svg(const NpuSimulateReport& report);

}  // namespace cria::cli

// Which device a program was compiled for.
#pragma once

#include <string>

#include "runtime/program.h"

namespace cria {

// "cpu", "sim:hexagon-v79" (also if parts of it run on the processor beside it); "?": a program
// whose delegates are others'.
std::string program_device(const Program& program);

// `wanted`: as "cria compile --device" takes it. kUnsupported: the program is for another device.
// kNotFound, kBadInput: a profile that cannot be read.
Status check_device(const Program& program, const std::string& wanted);

}  // namespace cria

// How what a machine can do at best is written.
#pragma once

#include <string>

#include "cria/machine.h"

namespace cria::cli {

// `format`: "md", "json", "jsonl" or "csv". docs/bench.md has the fields.
std::string machine_text(const std::string& format, const MachineReport& report);

// One line: "machine: AMD EPYC (avx2), 2 cores: reads 20.1 GB/s, int8 150 GMAC/s, ...".
std::string machine_line(const MachineReport& report);

}  // namespace cria::cli

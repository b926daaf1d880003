// Proves that a stream of commands may run.
#pragma once

#include "format/npu_commands/npu_commands.h"

namespace cria {

// After it: every index is in range and every size agrees; buffers lie in SRAM, aligned, and no two
// that are alive at the same time overlap; every command stays inside its buffers, inside its
// buffers' lives and inside scratch; every operand is aligned; every dependency points to what runs
// before; what a command reads was written by an earlier command, ordered before it through engines
// and dependencies, and is not overwritten until all readers are done; products read the panels of
// the weight that they name; weights between two switches of the context are those that the context
// maps. kBadInput names the command, its kind and what is wrong. Runs before every first run;
// linear in the commands but for a logarithm (a prefill of a 1B model: tenths of a second).
Status verify_npu_commands(const NpuCommands& commands);

// Parts of it, in the order in which they build on each other.
Status verify_npu_tables(
    const NpuCommands& commands);  // npu_verify.cc: weights, buffers, loops, sizes
Status verify_npu_forms(const NpuCommands& commands);  // npu_verify_form.cc: each command by itself
Status verify_npu_hazards(
    const NpuCommands& commands);  // npu_verify_hazards.cc: all of them, as they run

}  // namespace cria

// What the delegates of a program's method run, and what waits for what.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "format/npu_commands/npu_commands.h"
#include "format/plan/plan.h"

namespace cria {

class Program;

struct MethodPart {
  bool on_npu = false;
  NpuCommands commands;            // on the NPU
  Plan plan;                       // on the processor
  std::vector<std::size_t> after;  // earlier parts that it waits for
};

struct MethodParts {
  std::int64_t max_tokens = 0;    // that every part takes
  std::vector<MethodPart> parts;  // in the order of their calls
};

// kNotFound: no such method. kUnsupported: a delegate that is neither the CPU's nor the simulated
// NPU's. kBadInput: a malformed blob.
Result<MethodParts> read_method_parts(const Program& program, const std::string& method);

}  // namespace cria

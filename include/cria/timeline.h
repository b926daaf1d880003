// What a program does when that an NPU and the processor beside it share: both on one clock.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cria/status.h"

namespace cria {

// One call of a method: `decode` for one token, else `prefill`.
struct TimelineStep {
  std::int64_t n_tokens = 1;
  std::int64_t position = 0;  // tokens in the cache before them
};

struct TimelineStepTimes {
  std::string method;
  std::int64_t n_tokens = 0, position = 0;
  double seconds = 0;       // from the host's call until the token is chosen
  double npu_seconds = 0;   // the NPU at work, of it: simulated
  double cpu_seconds = 0;   // the processor at work on ops, of it: measured or estimated
  double both_seconds = 0;  // both at once, of it
};

struct Timeline {
  std::string trace;  // Chrome's trace format, as Perfetto opens it
  std::vector<TimelineStepTimes> steps;
};

// Steps one after the other. Work of the NPU is simulated, as are submissions and their ends;
// nothing of it is measured. Ops of the processor take `cpu_op_seconds`, in their order, as
// measured; without any, what the profile of the device estimates. `power_profile`: of the NPU.
// kUnsupported: a program without commands of an NPU, or with delegates of others.
// kInvalidArgument: steps that no method takes; more or fewer measured ops than the processor runs;
// no such power profile.
Result<Timeline> npu_timeline(const std::string& pte_path, std::span<const TimelineStep> steps,
                              std::span<const double> cpu_op_seconds = {},
                              const std::string& power_profile = "high_performance");

// Whether both run ops of a program. False also where the file cannot be read.
bool is_shared_with_npu(const std::string& pte_path);

}  // namespace cria

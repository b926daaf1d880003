// One call of a method whose parts an NPU and the processor beside it run, on one clock: what each
// part takes by itself, and when it runs.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "format/npu_commands/npu_commands.h"
#include "format/npu_profile/npu_profile.h"
#include "format/plan/plan.h"
#include "npu_plan/queue.h"
#include "npu_sim/npu_sim.h"

namespace cria {

struct TimedPart {
  QueuedPart queued;                 // `after` is the caller's to say
  Picoseconds choose_ps = 0;         // of the part that gives logits: the host's choice of a token
  NpuTiming npu;                     // of a part of the NPU
  std::vector<Picoseconds> op_ends;  // of a part of the processor: by op, from the part's start
};

struct CallTimes {
  QueueTimes queue;
  Picoseconds choose_ps = 0;   // behind all parts
  Picoseconds elapsed_ps = 0;  // from the host's call until the token is chosen
};

// Errors: those of simulate_npu().
Result<TimedPart> time_npu_part(const NpuCommands& commands, const NpuProfile& profile,
                                const NpuCall& call, const NpuSimOptions& options);
// `op_seconds`: by op of `plan`.
TimedPart time_cpu_part(const Plan& plan, const NpuProfile& profile, const NpuCall& call,
                        std::span<const double> op_seconds);

// The parts of a method, in their order. REQUIRES: `after` names earlier parts only.
CallTimes time_parts(std::span<const TimedPart> parts, const NpuProfile& profile,
                     const NpuSimOptions& options);

}  // namespace cria

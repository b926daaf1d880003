#include "api/call_clock.h"

#include <algorithm>

namespace cria {
Result<TimedPart> time_npu_part(const NpuCommands& commands, const NpuProfile& profile,
                                const NpuCall& call, const NpuSimOptions& options) {
  TimedPart timed;
  CRIA_ASSIGN_OR_RETURN(timed.npu, simulate_npu(commands, profile, call, options));
  const NpuTiming& t = timed.npu;
  timed.queued.on_npu = true;
  timed.queued.run_ps = t.elapsed_ps - t.submit_ps - t.complete_ps - t.choose_ps;
  timed.queued.n_submissions = static_cast<std::int64_t>(t.n_submissions);
  timed.choose_ps = t.choose_ps;
  return timed;
}

TimedPart time_cpu_part(const Plan& plan, const NpuProfile& profile, const NpuCall& call,
                        std::span<const double> op_seconds) {
  TimedPart timed;
  for (const double seconds : op_seconds) {
    timed.queued.run_ps += from_us(seconds * 1e6);
    timed.op_ends.push_back(timed.queued.run_ps);
  }
  for (const PlanOp& op : plan.ops) {
    if (op.kind != PlanOpKind::kOutput) continue;
    const std::int64_t n_rows = plan.buffers[op.x].single_row ? 1 : call.n_tokens;
    timed.choose_ps = npu_choose_ps(profile, plan.n_vocab * n_rows);
  }
  return timed;
}

CallTimes time_parts(std::span<const TimedPart> parts, const NpuProfile& profile,
                     const NpuSimOptions& options) {
  CallTimes times;
  std::vector<QueuedPart> queued;
  for (const TimedPart& part : parts) {
    queued.push_back(part.queued);
    times.choose_ps += part.choose_ps;
  }
  const std::uint32_t depth =
      options.queue_depth != 0 ? options.queue_depth : profile.host.queue_depth;
  times.queue = run_queue(queued, {from_us(profile.host.submit_us),
                                   from_us(profile.host.complete_us), std::max(1u, depth)});
  times.elapsed_ps = times.queue.end_ps + times.choose_ps;
  return times;
}

}  // namespace cria

// Times of calls whose ops run on the NPU, on the processor beside it, or on both.
#include <algorithm>
#include <optional>

#include "api/call_clock.h"
#include "api/npu_model.h"
#include "format/plan/plan_cost.h"
#include "targets/split_plan.h"

namespace cria {
namespace {

EstimateBound bound_of(NpuBound bound) {
  switch (bound) {
    case NpuBound::kDma:
      return EstimateBound::kDma;
    case NpuBound::kMatrix:
      return EstimateBound::kMatrix;
    case NpuBound::kVector:
      return EstimateBound::kVector;
    case NpuBound::kHost:
      return EstimateBound::kHost;
    case NpuBound::kLatency:
      break;
  }
  return EstimateBound::kLatency;
}

std::size_t count_copies(const NpuCommands& commands) {
  return static_cast<std::size_t>(
      std::ranges::count_if(commands.commands, [](const NpuCommand& command) {
        const bool moves = command.kind == NpuCommandKind::kLoad ||
                           command.kind == NpuCommandKind::kStore ||
                           command.kind == NpuCommandKind::kLoadScores ||
                           command.kind == NpuCommandKind::kStoreScores;
        return moves && !command.to_result;
      }));
}

class CallTimer {
 public:
  CallTimer(const NpuModel& model, const Plan& plan, const NpuCall& call)
      : model_(model), plan_(plan), call_(call) {
    times_.op_seconds.assign(plan.ops.size(), 0);
    times_.op_bound.assign(plan.ops.size(), EstimateBound::kLatency);
  }

  // `first`: the part's first op in the whole plan.
  Status add(const PlanPart& part, std::size_t first) {
    const std::size_t end = first + part.plan.ops.size();
    if (part.on_npu) {
      CRIA_RETURN_IF_ERROR(add_npu(part, first, end));
    } else {
      add_cpu(part, first);
    }
    parts_.back().queued.after = part.after;
    return {};
  }

  // REQUIRES: all that the parts come after was added.
  NpuCallTimes take() {
    const CallTimes all = time_parts(parts_, model_.profile, model_.sim);
    times_.seconds = to_seconds(all.elapsed_ps);
    times_.submit_seconds = to_seconds(all.queue.submit_ps);
    times_.complete_seconds = to_seconds(all.queue.complete_ps);
    times_.choose_seconds = to_seconds(all.choose_ps);
    add_idle_joules(all.elapsed_ps);
    return std::move(times_);
  }

 private:
  Status add_npu(const PlanPart& part, std::size_t first, std::size_t end) {
    NpuLoweringOptions options = model_.lowering;
    options.exported = part.exports;
    CRIA_ASSIGN_OR_RETURN(const NpuCommands commands,
                          lower_to_npu(part.plan, model_.profile, options));
    CRIA_ASSIGN_OR_RETURN(TimedPart timed,
                          time_npu_part(commands, model_.profile, call_, model_.sim));
    add_work(commands, timed.npu);
    share_out(commands, timed.npu, first, end);
    parts_.push_back(std::move(timed));
    return {};
  }

  void add_cpu(const PlanPart& part, std::size_t first) {
    std::vector<double> seconds;
    for (const PlanOp& op : part.plan.ops) {
      const OpEstimate estimate =
          estimate_cpu_op(model_.profile, part.plan, op, {call_.n_tokens, call_.position});
      times_.op_bound[first + seconds.size()] = estimate.bound;
      times_.op_seconds[first + seconds.size()] = estimate.seconds;
      times_.cpu_joules += estimate.device_joules;
      times_.dram_joules += estimate.dram_joules;
      times_.dram_bytes += estimate.dram_bytes;
      seconds.push_back(estimate.seconds);
    }
    parts_.push_back(time_cpu_part(part.plan, model_.profile, call_, seconds));
    const double choose_seconds = to_seconds(parts_.back().choose_ps);
    times_.host_seconds += choose_seconds;
    times_.cpu_joules += model_.profile.host.active_mw * 1e-3 * choose_seconds;
  }

  void add_work(const NpuCommands& commands, const NpuTiming& timing) {
    times_.work.add(timing.work);
    times_.host_seconds += to_seconds(timing.host_busy_ps);
    times_.cpu_joules += timing.work.joules.host;
    times_.dram_joules += timing.work.joules.dram;
    times_.dram_bytes += static_cast<double>(timing.work.bytes.dram());
    times_.sram_bytes = std::max(times_.sram_bytes, commands.sram_bytes);
    times_.n_commands += commands.commands.size();
    times_.n_contexts += commands.contexts.size();
    times_.n_submissions += timing.n_submissions;
    times_.n_copies += count_copies(commands);
  }

  // Each of its parts knows of what the NPU draws from its submission to its end alone.
  void add_idle_joules(Picoseconds elapsed_ps) {
    Picoseconds known_ps = 0;
    for (const TimedPart& part : parts_) known_ps += part.npu.elapsed_ps;
    if (known_ps == 0) return;
    times_.work.joules.fixed +=
        model_.profile.energy.idle_mw * 1e-3 * to_seconds(elapsed_ps - known_ps);
  }

  // Ops of the commands are those of the plan, in its order; one that was compiled into the one
  // before it is not among them.
  void share_out(const NpuCommands& commands, const NpuTiming& timing, std::size_t first,
                 std::size_t end) {
    std::size_t next = 0;
    for (std::size_t i = first; i < end && next < commands.ops.size(); ++i) {
      const NpuOp& op = commands.ops[next];
      if (op.kind != plan_op_name(plan_.ops[i].kind) ||
          op.name != plan_op_label(plan_, plan_.ops[i]))
        continue;
      times_.op_seconds[i] = to_seconds(timing.ops[next].elapsed_ps);
      times_.op_bound[i] = bound_of(timing.ops[next].bound);
      ++next;
    }
  }

  const NpuModel& model_;
  const Plan& plan_;
  const NpuCall& call_;
  std::vector<TimedPart> parts_;
  NpuCallTimes times_;
};

}  // namespace

Result<NpuCallTimes> time_npu_call(const NpuModel& model, const Plan& plan, const NpuCall& call,
                                   std::span<const PlaceDevice> device) {
  std::vector<bool> on_npu(plan.ops.size(), true);
  for (std::size_t i = 0; i < device.size(); ++i) on_npu[i] = device[i] == PlaceDevice::kNpu;
  CallTimer timer(model, plan, call);
  std::size_t first = 0;
  for (const PlanPart& part : split_plan(plan, on_npu)) {
    CRIA_RETURN_IF_ERROR(timer.add(part, first));
    first += part.plan.ops.size();
  }
  return timer.take();
}

std::vector<Result<NpuCallTimes>> time_npu_ops(const NpuModel& model, const Plan& plan,
                                               const NpuCall& call) {
  std::vector<Result<NpuCallTimes>> list;
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    std::vector<bool> on_npu(plan.ops.size(), false);
    on_npu[i] = true;
    std::vector<PlanPart> parts = split_plan(plan, on_npu);
    const auto part = std::ranges::find(parts, true, &PlanPart::on_npu);
    part->after.clear();  // here it is alone
    CallTimer timer(model, plan, call);
    const Status status = timer.add(*part, i);
    if (status.ok()) {
      list.emplace_back(timer.take());
    } else {
      list.emplace_back(status);
    }
  }
  return list;
}

}  // namespace cria

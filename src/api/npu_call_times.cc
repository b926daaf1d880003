// Times of calls whose ops run on the NPU, on the processor beside it, or on both.
#include <algorithm>
#include <optional>

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
    if (part.on_npu) return add_npu(part, first, end);
    for (std::size_t i = first; i < end; ++i) add_cpu(i);
    return {};
  }

  NpuCallTimes take() { return std::move(times_); }

 private:
  Status add_npu(const PlanPart& part, std::size_t first, std::size_t end) {
    NpuLoweringOptions options = model_.lowering;
    options.imported = part.plan.imports;
    options.exported = part.exports;
    CRIA_ASSIGN_OR_RETURN(const NpuCommands commands,
                          lower_to_npu(part.plan, model_.profile, options));
    CRIA_ASSIGN_OR_RETURN(const NpuTiming timing,
                          simulate_npu(commands, model_.profile, call_, model_.sim));
    add_work(commands, timing);
    share_out(commands, timing, first, end);
    return {};
  }

  void add_cpu(std::size_t i) {
    const OpEstimate estimate =
        estimate_cpu_op(model_.profile, plan_, plan_.ops[i], {call_.n_tokens, call_.position});
    times_.seconds += estimate.seconds;
    times_.op_seconds[i] = estimate.seconds;
    times_.op_bound[i] = estimate.bound;
    times_.cpu_joules += estimate.device_joules;
    times_.dram_joules += estimate.dram_joules;
    times_.dram_bytes += estimate.dram_bytes;
  }

  void add_work(const NpuCommands& commands, const NpuTiming& timing) {
    times_.seconds += timing.seconds();
    times_.submit_seconds += static_cast<double>(timing.submit_ps) * 1e-12;
    times_.complete_seconds += static_cast<double>(timing.complete_ps) * 1e-12;
    times_.choose_seconds += static_cast<double>(timing.choose_ps) * 1e-12;
    times_.work.add(timing.work);
    times_.cpu_joules += timing.work.joules.host;
    times_.dram_joules += timing.work.joules.dram;
    times_.dram_bytes += static_cast<double>(timing.work.bytes.dram());
    times_.sram_bytes = std::max(times_.sram_bytes, commands.sram_bytes);
    times_.n_commands += commands.commands.size();
    times_.n_contexts += commands.contexts.size();
    times_.n_submissions += timing.n_submissions;
    times_.n_copies += count_copies(commands);
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
      times_.op_seconds[i] = static_cast<double>(timing.ops[next].elapsed_ps) * 1e-12;
      times_.op_bound[i] = bound_of(timing.ops[next].bound);
      ++next;
    }
  }

  const NpuModel& model_;
  const Plan& plan_;
  const NpuCall& call_;
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
    const std::vector<PlanPart> parts = split_plan(plan, on_npu);
    const auto part = std::ranges::find(parts, true, &PlanPart::on_npu);
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

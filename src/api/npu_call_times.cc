// Times of calls whose ops run on the NPU, on the processor beside it, or on both.
#include <algorithm>
#include <optional>

#include "api/npu_model.h"
#include "format/plan/plan_cost.h"

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

bool reads(const Plan& plan, const PlanOp& op, std::uint32_t buffer) {
  return op.x == buffer || op.y == buffer || (op.out == buffer && plan_op_updates(plan, op));
}

// Weights that no op of a part reads are none of its concern.
void drop_unused_weights(Plan& plan) {
  std::vector<PlanWeight> kept;
  for (PlanOp& op : plan.ops) {
    for (std::uint32_t& index : op.weights) {
      const PlanWeight& weight = plan.weights[index];
      auto known = std::ranges::find(kept, weight);
      if (known == kept.end()) known = kept.insert(kept.end(), weight);
      index = static_cast<std::uint32_t>(known - kept.begin());
    }
  }
  plan.weights = std::move(kept);
}

// Ops [first, end) as a plan of their own, and the buffers that pass between them and the others.
struct Part {
  Plan plan;
  std::vector<std::uint32_t> imported, exported;
};

Part part_of(const Plan& plan, std::size_t first, std::size_t end) {
  Part part{plan, {}, {}};
  part.plan.ops.assign(plan.ops.begin() + static_cast<std::ptrdiff_t>(first),
                       plan.ops.begin() + static_cast<std::ptrdiff_t>(end));
  for (std::uint32_t id = 0; id < plan.buffers.size(); ++id) {
    const auto touched =
        std::find_if(part.plan.ops.begin(), part.plan.ops.end(),
                     [&](const PlanOp& op) { return op.out == id || op.x == id || op.y == id; });
    if (touched == part.plan.ops.end()) continue;
    // What the first op that touches it does not make was there before. A linear into some columns
    // of a wider buffer leaves the others as they were.
    const bool made_before =
        std::any_of(plan.ops.begin(), plan.ops.begin() + static_cast<std::ptrdiff_t>(first),
                    [&](const PlanOp& op) { return op.out == id; });
    if (made_before && (reads(plan, *touched, id) || touched->out == id))
      part.imported.push_back(id);
    const bool made_here = std::any_of(part.plan.ops.begin(), part.plan.ops.end(),
                                       [&](const PlanOp& op) { return op.out == id; });
    const bool read_after =
        std::any_of(plan.ops.begin() + static_cast<std::ptrdiff_t>(end), plan.ops.end(),
                    [&](const PlanOp& op) { return reads(plan, op, id); });
    if (made_here && read_after) part.exported.push_back(id);
  }
  drop_unused_weights(part.plan);
  return part;
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

  Status add_npu(std::size_t first, std::size_t end) {
    const bool whole = first == 0 && end == plan_.ops.size();
    const Part part = whole ? Part() : part_of(plan_, first, end);
    NpuLoweringOptions options = model_.lowering;
    options.imported = part.imported;
    options.exported = part.exported;
    CRIA_ASSIGN_OR_RETURN(const NpuCommands commands,
                          lower_to_npu(whole ? plan_ : part.plan, model_.profile, options));
    CRIA_ASSIGN_OR_RETURN(const NpuTiming timing,
                          simulate_npu(commands, model_.profile, call_, model_.sim));
    add(commands, timing);
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

  NpuCallTimes take() { return std::move(times_); }

 private:
  void add(const NpuCommands& commands, const NpuTiming& timing) {
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
  CallTimer timer(model, plan, call);
  for (std::size_t i = 0; i < plan.ops.size();) {
    const auto on_npu = [&](std::size_t at) {
      return device.empty() || device[at] == PlaceDevice::kNpu;
    };
    if (!on_npu(i)) {
      timer.add_cpu(i++);
      continue;
    }
    const std::size_t first = i;
    while (i < plan.ops.size() && on_npu(i)) ++i;
    CRIA_RETURN_IF_ERROR(timer.add_npu(first, i));
  }
  return timer.take();
}

std::vector<Result<NpuCallTimes>> time_npu_ops(const NpuModel& model, const Plan& plan,
                                               const NpuCall& call) {
  std::vector<Result<NpuCallTimes>> list;
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    CallTimer timer(model, plan, call);
    const Status status = timer.add_npu(i, i + 1);
    if (status.ok()) {
      list.emplace_back(timer.take());
    } else {
      list.emplace_back(status);
    }
  }
  return list;
}

}  // namespace cria

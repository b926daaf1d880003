#include "cria/npu.h"

#include <algorithm>
#include <chrono>

#include "api/npu_model.h"
#include "api/npu_placement.h"
#include "format/plan/plan_cost.h"
#include "npu_sim/heat/sustain.h"

namespace cria {
namespace {

NpuOpCost op_cost(const PlaceCost& cost, PlaceDevice device) {
  NpuOpCost told;
  told.device = place_device_name(device);
  told.possible = cost.decode_seconds.has_value();
  told.prefill_us = cost.prefill_seconds.value_or(0) * 1e6;
  told.decode_us = cost.decode_seconds.value_or(0) * 1e6;
  told.bound = told.possible ? estimate_bound_name(cost.decode_bound) : "";
  told.reason = cost.reason;
  return told;
}

std::string reason_of(const Plan& plan, const PlaceProblem& problem, std::size_t i,
                      PlaceDevice device, bool pinned) {
  const PlaceCost& here = problem.costs[static_cast<int>(device)][i];
  const PlaceCost& there = problem.costs[1 - static_cast<int>(device)][i];
  if (pinned) return "pinned";
  if (!there.decode_seconds) return "only there: " + there.reason;
  const auto weighed = [&](const PlaceCost& cost) {
    return problem.n_prefill_calls * *cost.prefill_seconds +
           problem.n_decode_steps * *cost.decode_seconds;
  };
  if (weighed(here) <= weighed(there)) return "cheapest";
  if (plan_op_uses_cache(plan.ops[i])) return "where its layer's cache is";
  return "stays with its neighbours: a handoff costs more than it saves";
}

std::vector<NpuPlannedOp> planned_ops(const Plan& plan, const PlaceProblem& problem,
                                      const PlacedOps& placed) {
  std::vector<NpuPlannedOp> ops;
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    NpuPlannedOp op;
    op.kind = plan_op_name(plan.ops[i].kind);
    op.name = plan_op_label(plan, plan.ops[i]);
    op.layer = plan_op_layer(plan, plan.ops[i]);
    op.device = place_device_name(placed.device[i]);
    op.reason = reason_of(plan, problem, i, placed.device[i], placed.pinned[i]);
    for (const PlaceDevice device : {PlaceDevice::kNpu, PlaceDevice::kCpu})
      op.costs.push_back(op_cost(problem.costs[static_cast<int>(device)][i], device));
    ops.push_back(std::move(op));
  }
  return ops;
}

NpuCallReport call_report(const NpuCallTimes& times) {
  NpuCallReport report;
  report.ms = 1e3 * times.seconds;
  report.submit_ms = 1e3 * times.submit_seconds;
  report.complete_ms = 1e3 * times.complete_seconds;
  report.choose_ms = 1e3 * times.choose_seconds;
  report.weight_bytes = static_cast<double>(times.work.bytes.weights);
  report.kv_bytes = static_cast<double>(times.work.bytes.cache);
  report.activation_bytes = static_cast<double>(times.work.bytes.activations);
  report.sram_bytes = times.sram_bytes;
  report.n_commands = static_cast<std::int64_t>(times.n_commands);
  report.n_submissions = static_cast<std::int64_t>(times.n_submissions);
  report.n_contexts = static_cast<std::int64_t>(times.n_contexts);
  report.n_copies = static_cast<std::int64_t>(times.n_copies);
  return report;
}

void add_totals(const NpuModel& model, const NpuModelOptions& options, const PlacedModel& placed,
                NpuPlanReport& report) {
  const NpuCallTimes& prefill = placed.prefill;
  const NpuCallTimes& decode = placed.decode;
  const double prompt_seconds = prefill.seconds * static_cast<double>(model.calls.n_prefill);
  report.prefill = call_report(prefill);
  report.decode = call_report(decode);
  report.sram_peak_bytes = std::max(prefill.sram_bytes, decode.sram_bytes);
  report.sram_size_bytes = model.profile.sram.bytes;
  report.prefill_tokens_per_second = static_cast<double>(options.n_prompt) / prompt_seconds;
  report.first_token_ms = 1e3 * prompt_seconds;
  report.decode_tokens_per_second = 1 / decode.seconds;
  report.joules_per_token = decode.joules();
  report.dram_bytes_per_token = decode.dram_bytes;
  report.kv_bytes = static_cast<double>(model.plans.decode.kv.bytes_per_position()) *
                    static_cast<double>(options.n_context);
  report.handoffs_per_call = placed.placed.n_handoffs;
  report.handoff_bytes_per_token = placed.placed.handoff_bytes;
}

}  // namespace

Result<NpuPlanReport> plan_on_npu(const NpuModelOptions& options) {
  CRIA_ASSIGN_OR_RETURN(const NpuModel model, open_npu_model(options));
  CRIA_ASSIGN_OR_RETURN(const PlaceProblem problem, pose_npu_placement(model, options));
  const auto start = std::chrono::steady_clock::now();
  CRIA_ASSIGN_OR_RETURN(const PlacedModel placed, place_npu_model(model, problem));
  NpuPlanReport report;
  report.search_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.model = model.plans.description;
  report.device = "sim:" + model.profile.name;
  report.ops = planned_ops(model.plans.decode, problem, placed.placed);
  add_totals(model, options, placed, report);
  return report;
}

Result<NpuSimulateReport> simulate_on_npu(const NpuModelOptions& options, double minutes) {
  if (!(minutes > 0) || minutes > 1440)
    return invalid_argument("{} minutes, expected more than 0, at most 1440", minutes);
  CRIA_ASSIGN_OR_RETURN(const NpuModel model, open_npu_model(options));
  double host_seconds = 0;  // the same whatever the NPU's clock
  const auto token = [&](std::uint32_t state) -> Result<TokenCost> {
    NpuModel clocked = model;
    clocked.sim.clock_state = state;
    CRIA_ASSIGN_OR_RETURN(const NpuCallTimes times,
                          time_npu_call(clocked, clocked.plans.decode, clocked.calls.decode));
    host_seconds = times.host_seconds;
    return TokenCost{times.seconds, times.joules(), times.npu_joules()};
  };
  CRIA_ASSIGN_OR_RETURN(const SustainResult run, sustain(model.profile.thermal, token,
                                                         {60 * minutes, 1, model.sim.clock_state}));
  CRIA_ASSIGN_OR_RETURN(const NpuCallTimes prefill,
                        time_npu_call(model, model.plans.prefill, model.calls.prefill));
  NpuSimulateReport report;
  report.model = model.plans.description;
  report.device = "sim:" + model.profile.name;
  report.power_profile = options.power_profile;
  report.minutes = minutes;
  report.n_context = options.n_context;
  report.tokens = run.tokens;
  report.tokens_per_second = run.tokens_per_second();
  report.first_tokens_per_second = run.points.front().tokens_per_second;
  report.last_tokens_per_second = run.points.back().tokens_per_second;
  report.joules_per_token = run.joules / run.tokens;
  report.npu_joules_per_token = run.device_joules / run.tokens;
  report.host_seconds_per_token = host_seconds;
  report.npu_watts = run.device_joules / run.seconds;
  report.first_token_ms = 1e3 * prefill.seconds * static_cast<double>(model.calls.n_prefill);
  report.prefill_tokens_per_second =
      1e3 * static_cast<double>(options.n_prompt) / report.first_token_ms;
  for (const SustainPoint& point : run.points) {
    const ClockState& clock = model.profile.state(point.clock_state);
    report.points.push_back({point.seconds, point.tokens_per_second, point.temperatures.die_c,
                             point.temperatures.skin_c, point.joules_per_token, point.watts,
                             clock.name, clock.matrix_mhz});
  }
  return report;
}

}  // namespace cria

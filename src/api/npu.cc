#include "cria/npu.h"

#include <chrono>
#include <cmath>

#include "api/model_plans.h"
#include "base/quote.h"
#include "format/plan/plan_cost.h"
#include "npu_plan/place.h"
#include "npu_sim/heat/sustain.h"

namespace cria {
namespace {

struct Question {
  NpuProfile profile;
  ModelPlans plans;
  std::uint32_t clock_state = 0;
  std::int64_t n_prefill_calls = 1;
  EstimateCall prefill, decode;  // a call in the middle of the prompt; a token
};

Result<std::uint32_t> clock_state_of(const NpuProfile& profile, const std::string& power) {
  if (power == "high_performance") return profile.high_performance.clock_state;
  if (power == "balanced") return profile.balanced.clock_state;
  if (power == "low_power") return profile.low_power.clock_state;
  return invalid_argument("power profile {}, expected high_performance, balanced or low_power",
                          quote(power));
}

Result<Question> open_question(const NpuModelOptions& options) {
  if (!options.device.starts_with("sim:"))
    return invalid_argument("--device {}: expected sim:NAME, see cria devices",
                            quote(options.device));
  for (const auto& [what, n] : {std::pair{"context", options.n_context},
                                {"prompt", options.n_prompt},
                                {"generated", options.n_generate}}) {
    if (n < 1 || n > (1 << 24))
      return invalid_argument("{} of {} tokens, expected 1 to 16777216", what, n);
  }
  Question question;
  CRIA_ASSIGN_OR_RETURN(NpuProfileFile file, load_npu_profile(options.device.substr(4)));
  question.profile = std::move(file.profile);
  CRIA_ASSIGN_OR_RETURN(question.clock_state,
                        clock_state_of(question.profile, options.power_profile));
  CRIA_ASSIGN_OR_RETURN(question.plans, open_model_plans(options.model, options.quant));
  const std::int64_t chunk = std::min(options.n_prompt, question.plans.prefill.max_tokens);
  question.n_prefill_calls = (options.n_prompt + chunk - 1) / chunk;
  question.prefill = {chunk, (options.n_prompt - chunk) / 2, question.clock_state};
  question.decode = {1, options.n_context, question.clock_state};
  return question;
}

PlaceCost place_cost(const Question& q, std::size_t i, PlaceDevice device) {
  PlaceCost cost;
  const auto cost_of = [&](const Plan& plan, const EstimateCall& call) -> Result<OpEstimate> {
    if (device == PlaceDevice::kNpu) return estimate_npu_op(q.profile, plan, plan.ops[i], call);
    return estimate_cpu_op(q.profile, plan, plan.ops[i], call);
  };
  const Result<OpEstimate> prefill = cost_of(q.plans.prefill, q.prefill);
  const Result<OpEstimate> decode = cost_of(q.plans.decode, q.decode);
  if (!decode.ok() || !prefill.ok()) {
    cost.reason = (decode.ok() ? prefill : decode).status().message();
    return cost;
  }
  cost.prefill_seconds = prefill->seconds;
  cost.decode_seconds = decode->seconds;
  cost.prefill_bound = prefill->bound;
  cost.decode_bound = decode->bound;
  return cost;
}

Result<PlaceProblem> pose(const Question& q, const NpuModelOptions& options) {
  PlaceProblem problem;
  problem.n_prefill_calls = static_cast<double>(q.n_prefill_calls);
  problem.n_decode_steps = static_cast<double>(options.n_generate);
  problem.handoff_seconds[0] = handoff_seconds(q.profile, false);
  problem.handoff_seconds[1] = handoff_seconds(q.profile, true);
  problem.bytes_per_second = q.profile.dram_bytes_per_s(q.clock_state);
  problem.prefill_tokens = static_cast<double>(q.prefill.n_tokens);
  for (const PlaceDevice device : {PlaceDevice::kCpu, PlaceDevice::kNpu}) {
    for (std::size_t i = 0; i < q.plans.decode.ops.size(); ++i)
      problem.costs[static_cast<int>(device)].push_back(place_cost(q, i, device));
  }
  for (const auto& [op, device] : options.pins) {
    if (device != "npu" && device != "cpu")
      return invalid_argument("--place {}={}: expected npu or cpu", op, device);
    problem.pins.emplace_back(op, device == "npu" ? PlaceDevice::kNpu : PlaceDevice::kCpu);
  }
  return problem;
}

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

std::string reason_of(const PlaceProblem& problem, std::size_t i, PlaceDevice device, bool pinned) {
  const PlaceCost& here = problem.costs[static_cast<int>(device)][i];
  const PlaceCost& there = problem.costs[1 - static_cast<int>(device)][i];
  if (pinned) return "pinned";
  if (!there.decode_seconds) return "only there: " + there.reason;
  const auto weighed = [&](const PlaceCost& cost) {
    return problem.n_prefill_calls * *cost.prefill_seconds +
           problem.n_decode_steps * *cost.decode_seconds;
  };
  return weighed(here) <= weighed(there)
             ? "cheapest"
             : "stays with its neighbours: a handoff costs more than it saves";
}

// Energy of a decode step under a placement: what each op draws where it runs, and the NPU's static
// power throughout.
void add_energy(const Question& q, const PlacedOps& placed, NpuPlanReport& report) {
  const Plan& plan = q.plans.decode;
  bool any_npu = false;
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    OpEstimate estimate = estimate_cpu_op(q.profile, plan, plan.ops[i], q.decode);
    if (placed.device[i] == PlaceDevice::kNpu) {
      estimate = *estimate_npu_op(q.profile, plan, plan.ops[i], q.decode);
      any_npu = true;
    }
    report.joules_per_token += estimate.device_joules + estimate.dram_joules;
    report.dram_bytes_per_token += estimate.dram_bytes;
  }
  const double scale = q.profile.state(q.clock_state).energy_scale;
  const double npu_watts =
      (any_npu ? q.profile.energy.static_mw * scale : q.profile.energy.idle_mw) * 1e-3;
  report.joules_per_token += npu_watts * placed.decode_seconds;
  const double pairs = placed.n_handoffs / 2.0;
  report.joules_per_token += q.profile.host.active_mw * 1e-9 * pairs *
                             (q.profile.host.submit_us + q.profile.host.complete_us);
}

}  // namespace

Result<NpuPlanReport> plan_on_npu(const NpuModelOptions& options) {
  CRIA_ASSIGN_OR_RETURN(const Question q, open_question(options));
  CRIA_ASSIGN_OR_RETURN(const PlaceProblem problem, pose(q, options));
  const auto start = std::chrono::steady_clock::now();
  CRIA_ASSIGN_OR_RETURN(const PlacedOps placed, place_ops(q.plans.decode, problem));
  NpuPlanReport report;
  report.search_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.model = q.plans.description;
  report.device = "sim:" + q.profile.name;
  const Plan& plan = q.plans.decode;
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    NpuPlannedOp op;
    op.kind = plan_op_name(plan.ops[i].kind);
    op.name = plan_op_label(plan, plan.ops[i]);
    op.layer = plan_op_layer(plan, plan.ops[i]);
    op.device = place_device_name(placed.device[i]);
    op.reason = reason_of(problem, i, placed.device[i], placed.pinned[i]);
    for (const PlaceDevice device : {PlaceDevice::kNpu, PlaceDevice::kCpu})
      op.costs.push_back(op_cost(problem.costs[static_cast<int>(device)][i], device));
    report.ops.push_back(std::move(op));
  }
  const double prefill = placed.prefill_seconds * static_cast<double>(q.n_prefill_calls);
  report.prefill_tokens_per_second = static_cast<double>(options.n_prompt) / prefill;
  report.first_token_ms = 1e3 * prefill;
  report.decode_tokens_per_second = 1 / placed.decode_seconds;
  report.handoffs_per_call = placed.n_handoffs;
  report.handoff_bytes_per_token = placed.handoff_bytes;
  add_energy(q, placed, report);
  return report;
}

Result<NpuSimulateReport> simulate_on_npu(const NpuModelOptions& options, double minutes) {
  if (!(minutes > 0) || minutes > 1440)
    return invalid_argument("{} minutes, expected more than 0, at most 1440", minutes);
  CRIA_ASSIGN_OR_RETURN(const Question q, open_question(options));
  const auto token = [&](std::uint32_t state) -> Result<TokenCost> {
    EstimateCall call = q.decode;
    call.clock_state = state;
    CRIA_ASSIGN_OR_RETURN(const CallEstimate estimate,
                          estimate_npu_call(q.profile, q.plans.decode, call));
    return TokenCost{estimate.seconds, estimate.joules(), estimate.device_joules};
  };
  CRIA_ASSIGN_OR_RETURN(const SustainResult run,
                        sustain(q.profile.thermal, token, {60 * minutes, 1, q.clock_state}));
  CRIA_ASSIGN_OR_RETURN(const CallEstimate prefill,
                        estimate_npu_call(q.profile, q.plans.prefill, q.prefill));
  NpuSimulateReport report;
  report.model = q.plans.description;
  report.device = "sim:" + q.profile.name;
  report.minutes = minutes;
  report.n_context = options.n_context;
  report.tokens = run.tokens;
  report.tokens_per_second = run.tokens_per_second();
  report.first_tokens_per_second = run.points.front().tokens_per_second;
  report.last_tokens_per_second = run.points.back().tokens_per_second;
  report.joules_per_token = run.joules / run.tokens;
  report.npu_joules_per_token = run.device_joules / run.tokens;
  report.npu_watts = run.device_joules / run.seconds;
  report.first_token_ms = 1e3 * prefill.seconds * static_cast<double>(q.n_prefill_calls);
  report.prefill_tokens_per_second =
      1e3 * static_cast<double>(options.n_prompt) / report.first_token_ms;
  for (const SustainPoint& point : run.points) {
    report.points.push_back({point.seconds, point.tokens_per_second, point.temperatures.die_c,
                             point.temperatures.skin_c, point.joules_per_token, point.watts,
                             q.profile.state(point.clock_state).name});
  }
  return report;
}

}  // namespace cria

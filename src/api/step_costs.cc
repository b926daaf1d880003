#include "api/step_costs.h"

#include "format/plan/plan_cost.h"
#include "format/pte/pte_reader.h"

namespace cria {

StepCosts::StepCosts(const ProgramModel& model) {
  const Program& program = model.executor().program();
  for (const std::string& name : model.method_names()) {
    const Result<const pte::ExecutionPlan*> method = program.plan(name);
    if (!method.ok()) continue;
    for (const pte::BackendDelegate& delegate : (*method)->delegates) {
      Result<Plan> plan = decode_plan(program.pte().delegate_blob(delegate), delegate.id);
      if (plan.ok()) plans_[name].push_back(std::move(*plan));
    }
  }
}

ForwardCost StepCosts::forward(const ProgramModel& model, std::int64_t n_tokens,
                               std::int64_t position, LogitRows rows) const {
  ForwardCost cost;
  if (rows == LogitRows::kAll && model.info().verify_chunk <= 0) return cost;
  const Program& program = model.executor().program();
  const auto stored_bytes = [&program](const PlanWeight& weight) -> std::uint64_t {
    const Result<std::span<const std::byte>> data = program.named_data(weight.key);
    return data.ok() ? data->size() : 0;  // the delegate has refused a program without it
  };
  for (std::int64_t done = 0, n = 0; done < n_tokens; done += n) {
    n = model.next_step(done, n_tokens, rows);
    const auto found = plans_.find(model.method_of_step(n, rows));
    if (found == plans_.end()) continue;
    for (const Plan& plan : found->second) {
      const PlanCost step = plan_cost(plan, n, position + done, stored_bytes);
      cost.add({step.weight_bytes, step.kv_bytes, step.linear_macs, step.attention_macs});
    }
  }
  return cost;
}

}  // namespace cria

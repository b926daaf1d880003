// What the steps of a program cost, from the plans that its methods are made of.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cria/engine.h"
#include "format/plan/plan.h"
#include "llm/program_model.h"

namespace cria {

// Thread-safety: const methods are safe from any thread.
class StepCosts {
 public:
  StepCosts() = default;
  // Blobs that are no plans (of other delegates) count for nothing.
  explicit StepCosts(const ProgramModel& model);

  // As Engine::forward_cost and forward_all_cost. `model`: the one it was made from.
  ForwardCost forward(const ProgramModel& model, std::int64_t n_tokens, std::int64_t position,
                      LogitRows rows) const;

 private:
  std::map<std::string, std::vector<Plan>, std::less<>> plans_;  // by method
};

}  // namespace cria

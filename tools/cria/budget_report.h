// `cria compile --budget`: what was asked for, and what was bought.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cria/budget.h"

namespace cria::cli {

// "1.8GB", "1800MB", "1.7GiB", "1700MiB", "4.25bpw" (bits a weight). Empty: it is set,
// and nothing else of `budget`; else what is wrong with the text.
std::string parse_budget(const std::string& text, BudgetOptions& budget);

nlohmann::ordered_json budget_json(const BudgetReport& report);
std::string budget_text(const BudgetReport& report);

}  // namespace cria::cli

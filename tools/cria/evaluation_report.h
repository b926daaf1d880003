// What `cria eval` and `cria compile --eval` say about a text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cria/evaluate.h"

namespace cria::cli {

nlohmann::ordered_json evaluation_json(const EvaluateReport& report);
std::string evaluation_text(const EvaluateReport& report);

}  // namespace cria::cli

// JSON as Python's json.dumps writes it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"

namespace cria {

// json.dumps(value, ensure_ascii=False, indent=indent); indent < 0 stands for None: one line, with
// a space after each comma and colon. Chat templates write JSON like this, so models were trained
// on exactly these spaces. kInvalidArgument when the value is nested more than 64 deep.
Result<std::string> python_json(const nlohmann::ordered_json& value, int indent = -1);

}  // namespace cria

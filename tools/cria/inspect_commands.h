// What `cria inspect --commands` prints for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cria::cli {

// `json`: of cria::inspect_commands. One line a command: what it reads -> what it writes, and the
// commands that must be done before.
std::string commands_text(const nlohmann::ordered_json& json);

}  // namespace cria::cli

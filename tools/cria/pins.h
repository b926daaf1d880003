// --place: which device runs an op.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cria/status.h"

namespace cria::cli {

using Pins = std::vector<std::pair<std::string, std::string>>;  // op (kind or name), device

// "attention=npu,linear=cpu". kInvalidArgument: not of this form.
Result<Pins> read_pins(std::string_view text);

}  // namespace cria::cli

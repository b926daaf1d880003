#include "pins.h"

#include <fmt/format.h>

#include <algorithm>

namespace cria::cli {

Result<Pins> read_pins(std::string_view text) {
  Pins pins;
  while (!text.empty()) {
    const std::string_view pin = text.substr(0, text.find(','));
    text.remove_prefix(std::min(pin.size() + 1, text.size()));
    const std::size_t equals = pin.find('=');
    if (equals == 0 || equals == std::string_view::npos) {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("--place {:?}: expected OP=DEVICE", pin));
    }
    pins.emplace_back(pin.substr(0, equals), pin.substr(equals + 1));
  }
  return pins;
}

}  // namespace cria::cli

// Who wants to know what every op of a run took, and what linears read.
#pragma once

#include <functional>
#include <string_view>

#include "cria/delegate.h"

namespace cria {

// Valid during the call.
struct OpEvent {
  std::string_view method;    // "decode"
  std::string_view delegate;  // "CriaCpuBackend"
  const cria_op_record& record;
};

// Called on the thread that runs the method, between two ops: what it takes, the run takes longer.
using OpListener = std::function<void(const OpEvent&)>;

// Valid during the call.
struct InputEvent {
  std::string_view method;
  std::string_view delegate;
  const cria_input_record& record;  // checked: weights and rows are there
};

// Called on the thread that runs the method, before the linears.
using InputListener = std::function<void(const InputEvent&)>;

}  // namespace cria

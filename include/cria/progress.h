// Progress of long steps, reported to the caller (the library itself never prints).
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace cria {

// Called from time to time with the step's name ("quantize"), how much is done and of how much, in
// the step's own unit (bytes, tokens). `done` == `total` ends the step. Return false to cancel: the
// operation stops soon after with ErrorCode::kCancelled and leaves no partial file. Called from the
// thread that called the operation.
using Progress =
    std::function<bool(std::string_view step, std::uint64_t done, std::uint64_t total)>;

}  // namespace cria

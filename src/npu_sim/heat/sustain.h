// Minutes of decoding: what the temperature does to the speed. Pure; what a token costs is handed
// in.
#pragma once

#include <functional>
#include <vector>

#include "base/result.h"
#include "npu_sim/heat/thermal.h"

namespace cria {

// One token on the device in a clock state.
struct TokenCost {
  double seconds = 0;
  double die_joules = 0;     // device, its memory and the host's work for it: what heats the die
  double device_joules = 0;  // of it, the NPU itself: multipliers, SRAM, static
};
using TokenCosts = std::function<Result<TokenCost>(std::uint32_t clock_state)>;

struct SustainOptions {
  double seconds = 600;
  double interval_seconds = 1;    // of the curve; the throttle table is looked at as often
  std::uint32_t clock_state = 0;  // that is wanted; heat may force a slower one
};

// The state of things at the end of an interval, and what happened in it.
struct SustainPoint {
  double seconds = 0;  // since the start
  double tokens_per_second = 0;
  Temperatures temperatures;
  std::uint32_t clock_state = 0;
  double joules_per_token = 0;  // the background power's share included
  double watts = 0;             // likewise
};

struct SustainResult {
  std::vector<SustainPoint> points;
  double tokens = 0;
  double seconds = 0;
  double joules = 0;         // with the background
  double die_joules = 0;     // without
  double device_joules = 0;  // of the NPU itself
  double tokens_per_second() const { return tokens / seconds; }
};

// From the temperatures of a device that did nothing. Tokens are decoded without a pause; a token
// is not cut by an interval's end but counted in fractions. Errors: those of `costs`;
// kInvalidArgument: times that are not positive.
Result<SustainResult> sustain(const NpuThermal& thermal, const TokenCosts& costs,
                              const SustainOptions& options);

}  // namespace cria

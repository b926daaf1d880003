#include "npu_sim/heat/sustain.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace cria {
namespace {

constexpr double kMostIntervals = 1e6;

}  // namespace

Result<SustainResult> sustain(const NpuThermal& thermal, const TokenCosts& costs,
                              const SustainOptions& options) {
  const double n_intervals = std::ceil(options.seconds / options.interval_seconds);
  if (!(options.seconds > 0) || !(options.interval_seconds > 0) || !(n_intervals <= kMostIntervals))
    return invalid_argument("{} s in steps of {} s, expected positive times, at most {} steps",
                            options.seconds, options.interval_seconds, kMostIntervals);
  const double background_watts = thermal.background_mw * 1e-3;
  std::map<std::uint32_t, TokenCost> known;
  SustainResult result;
  Temperatures now = steady_temperatures(thermal, 0);
  std::uint32_t step = throttle_step(thermal, now.die_c, 0);
  while (result.seconds < options.seconds) {
    const double dt = std::min(options.interval_seconds, options.seconds - result.seconds);
    const std::uint32_t state = throttled_state(thermal, options.clock_state, step);
    if (known.count(state) == 0) {
      CRIA_ASSIGN_OR_RETURN(known[state], costs(state));
      if (!(known[state].seconds > 0))
        return internal_error("a token takes {} s in clock state {}", known[state].seconds, state);
    }
    const TokenCost& token = known[state];
    const double tokens = dt / token.seconds;
    const double die_watts = token.die_joules / token.seconds;
    now = step_temperatures(thermal, now, die_watts, dt);
    step = throttle_step(thermal, now.die_c, step);
    // A remainder below the clock's rounding would never end.
    result.seconds =
        options.seconds - result.seconds - dt < 1e-9 ? options.seconds : result.seconds + dt;
    result.tokens += tokens;
    result.die_joules += die_watts * dt;
    result.device_joules += token.device_joules * tokens;
    result.joules += (die_watts + background_watts) * dt;
    const double watts = die_watts + background_watts;
    result.points.push_back(
        {result.seconds, 1 / token.seconds, now, state, watts * token.seconds, watts});
  }
  return result;
}

}  // namespace cria

// How warm a device gets: two nodes, die and skin, and the throttle table that turns die
// temperature into a clock state.
//
//   power -> die -(r_die)- skin -(r_skin)- ambient        C dT/dt = heat in - heat out
//
// The step is exact for constant power (the matrix exponential of two linear equations), so its
// length does not matter.
#pragma once

#include <cstdint>

#include "format/npu_profile/npu_profile.h"

namespace cria {

struct Temperatures {
  double die_c = 0;
  double skin_c = 0;
};

// Where the temperatures end with `die_watts` for ever; the background power of the profile enters
// at the skin.
Temperatures steady_temperatures(const NpuThermal& thermal, double die_watts);

// After `seconds` >= 0 with constant `die_watts`.
Temperatures step_temperatures(const NpuThermal& thermal, const Temperatures& from,
                               double die_watts, double seconds);

// The clock state that the throttle table asks for. Pure; the caller keeps what it returns.
// `step`: entries of the table in force before, 0: none. Returns the entries in force now: those
// whose threshold the die has reached, and those in force until it has fallen below threshold -
// hysteresis.
std::uint32_t throttle_step(const NpuThermal& thermal, double die_c, std::uint32_t step);

// The slowest of `wanted` and what `step` entries of the table demand.
std::uint32_t throttled_state(const NpuThermal& thermal, std::uint32_t wanted, std::uint32_t step);

}  // namespace cria

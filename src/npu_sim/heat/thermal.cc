#include "npu_sim/heat/thermal.h"

#include <algorithm>
#include <cmath>

namespace cria {

Temperatures steady_temperatures(const NpuThermal& thermal, double die_watts) {
  Temperatures end;
  end.skin_c =
      thermal.ambient_c + thermal.r_skin_c_per_w * (die_watts + thermal.background_mw * 1e-3);
  end.die_c = end.skin_c + thermal.r_die_c_per_w * die_watts;
  return end;
}

// With x = T - T_steady, dx/dt = A x:
//   A = | -a   a     |   a = 1 / (r_die c_die),   b = 1 / (r_die c_skin),   c = 1 / (r_skin c_skin)
//       |  b  -b - c |
// and e^(At) = e^(st) (cosh(qt) I + sinh(qt)/q (A - sI)), s = trace / 2, q = sqrt(s^2 - det). Both
// eigenvalues s +- q are real and negative, because a b > 0.
Temperatures step_temperatures(const NpuThermal& thermal, const Temperatures& from,
                               double die_watts, double seconds) {
  const Temperatures end = steady_temperatures(thermal, die_watts);
  const double a = 1 / (thermal.r_die_c_per_w * thermal.c_die_j_per_c);
  const double b = 1 / (thermal.r_die_c_per_w * thermal.c_skin_j_per_c);
  const double c = 1 / (thermal.r_skin_c_per_w * thermal.c_skin_j_per_c);
  const double s = -(a + b + c) / 2;
  const double q = std::sqrt(s * s - a * c);
  const double slow = std::exp((s + q) * seconds);
  const double fast = std::exp((s - q) * seconds);
  const double cosh_part = (slow + fast) / 2;
  const double sinh_part = (slow - fast) / (2 * q);
  const double die = from.die_c - end.die_c;
  const double skin = from.skin_c - end.skin_c;
  Temperatures to;
  to.die_c = end.die_c + cosh_part * die + sinh_part * ((-a - s) * die + a * skin);
  to.skin_c = end.skin_c + cosh_part * skin + sinh_part * (b * die + (-b - c - s) * skin);
  return to;
}

std::uint32_t throttle_step(const NpuThermal& thermal, double die_c, std::uint32_t step) {
  const auto n = static_cast<std::uint32_t>(thermal.throttle.size());
  step = std::min(step, n);
  while (step < n && die_c >= thermal.throttle[step].above_c) ++step;
  while (step > 0 && die_c < thermal.throttle[step - 1].above_c - thermal.hysteresis_c) --step;
  return step;
}

std::uint32_t throttled_state(const NpuThermal& thermal, std::uint32_t wanted, std::uint32_t step) {
  const auto n = static_cast<std::uint32_t>(thermal.throttle.size());
  if (step == 0 || n == 0) return wanted;
  return std::max(wanted, thermal.throttle[std::min(step, n) - 1].state);
}

}  // namespace cria

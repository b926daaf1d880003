#include "format/npu_profile/check_npu_profile.h"

#include <bit>

#include "base/quote.h"

namespace cria {
namespace {

Status check_labels(const NpuProfile& profile) {
  for (const char c : profile.name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
      return bad_input("name: {} where lower-case letters, digits and '-' are expected",
                       quote(profile.name));
  }
  if (profile.status != "fitted" && profile.status != "compared" &&
      profile.status != "illustrative")
    return bad_input("status: {} where one of fitted, compared, illustrative is expected",
                     quote(profile.status));
  return {};
}

Status check_clock(const NpuClock& clock) {
  if (clock.states.empty()) return bad_input("clock.states: empty, at least one is expected");
  if (clock.states[0].energy_scale != 1)
    return bad_input(
        "clock.states[0].energy_scale: {} where 1 is expected (the others are relative to it)",
        clock.states[0].energy_scale);
  for (std::size_t i = 1; i < clock.states.size(); ++i) {
    const ClockState& before = clock.states[i - 1];
    const ClockState& state = clock.states[i];
    if (state.matrix_mhz > before.matrix_mhz || state.vector_mhz > before.vector_mhz ||
        state.bus_mhz > before.bus_mhz || state.energy_scale > before.energy_scale)
      return bad_input(
          "clock.states[{}]: {} is faster than the state before it, and states are listed fastest "
          "first",
          i, quote(state.name));
  }
  return {};
}

Status check_memory(const NpuProfile& profile) {
  const std::vector<DmaEfficiency>& efficiency = profile.dma.efficiency;
  if (efficiency.empty()) return bad_input("dma.efficiency: empty, at least one entry is expected");
  for (std::size_t i = 1; i < efficiency.size(); ++i) {
    if (efficiency[i].transfer_bytes <= efficiency[i - 1].transfer_bytes)
      return bad_input(
          "dma.efficiency[{}].transfer_bytes: {} where more than {} is expected (ascending)", i,
          efficiency[i].transfer_bytes, efficiency[i - 1].transfer_bytes);
  }
  if (profile.dram.npu_cap_gb_per_s > profile.dram.peak_gb_per_s)
    return bad_input("dram.npu_cap_gb_per_s: {} where at most the peak, {}, is expected",
                     profile.dram.npu_cap_gb_per_s, profile.dram.peak_gb_per_s);
  if (profile.limits.max_map_bytes > profile.limits.va_bytes)
    return bad_input("limits.max_map_bytes: {} where at most va_bytes, {}, is expected",
                     profile.limits.max_map_bytes, profile.limits.va_bytes);
  if (!std::has_single_bit(profile.limits.align_bytes))
    return bad_input("limits.align_bytes: {} where a power of two is expected",
                     profile.limits.align_bytes);
  if (profile.limits.group_sizes.empty())
    return bad_input("limits.group_sizes: empty, at least one is expected (0: one scale a row)");
  return {};
}

Status check_thermal(const NpuThermal& thermal, std::size_t n_states) {
  for (std::size_t i = 0; i < thermal.throttle.size(); ++i) {
    const ThrottleStep& step = thermal.throttle[i];
    if (step.state >= n_states)
      return bad_input("thermal.throttle[{}].state: {} where an index below {} is expected", i,
                       step.state, n_states);
    if (i > 0 && (step.above_c <= thermal.throttle[i - 1].above_c ||
                  step.state < thermal.throttle[i - 1].state))
      return bad_input("thermal.throttle[{}]: {} C and state {} do not ascend from the step before",
                       i, step.above_c, step.state);
  }
  return {};
}

Status check_power(const NpuProfile& profile) {
  const std::pair<const char*, const NpuPowerProfile*> profiles[] = {
      {"high_performance", &profile.high_performance},
      {"balanced", &profile.balanced},
      {"low_power", &profile.low_power}};
  for (const auto& [name, power] : profiles) {
    if (power->clock_state >= profile.clock.states.size())
      return bad_input("power.{}.clock_state: {} where an index below {} is expected", name,
                       power->clock_state, profile.clock.states.size());
    if (power->batch > profile.host.batch_max)
      return bad_input("power.{}.batch: {} where at most host.batch_max, {}, is expected", name,
                       power->batch, profile.host.batch_max);
  }
  return {};
}

}  // namespace

Status check_npu_profile(const NpuProfile& profile) {
  CRIA_RETURN_IF_ERROR(check_labels(profile));
  CRIA_RETURN_IF_ERROR(check_clock(profile.clock));
  bool any_mode = false;
  for (const auto& mode : profile.matrix.modes) any_mode = any_mode || mode.has_value();
  if (!any_mode)
    return bad_input("matrix: no mode, at least one of f16, a16w8, a16w4, a8w8, a8w4 is expected");
  CRIA_RETURN_IF_ERROR(check_memory(profile));
  CRIA_RETURN_IF_ERROR(check_thermal(profile.thermal, profile.clock.states.size()));
  return check_power(profile);
}

}  // namespace cria

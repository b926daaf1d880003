#include <gtest/gtest.h>

#include <cmath>

#include "npu_sim/heat/sustain.h"
#include "npu_sim/heat/thermal.h"

namespace cria {
namespace {

NpuThermal phone() {
  NpuThermal thermal;
  thermal.ambient_c = 25;
  thermal.r_die_c_per_w = 12;
  thermal.c_die_j_per_c = 0.6;
  thermal.r_skin_c_per_w = 4;
  thermal.c_skin_j_per_c = 75;
  thermal.background_mw = 1500;
  thermal.hysteresis_c = 5;
  thermal.throttle = {{80, 1}, {95, 2}};
  return thermal;
}

TEST(Thermal, SteadyIsOhmsLaw) {
  const Temperatures end = steady_temperatures(phone(), 4);
  EXPECT_DOUBLE_EQ(end.skin_c, 25 + 4 * 5.5);
  EXPECT_DOUBLE_EQ(end.die_c, end.skin_c + 48);
}

// With a skin that nothing warms, the die alone is one RC: T = end + (start - end) e^(-t/RC). The
// skin's finite size bends the curve by at most c_die / c_skin of the rise.
TEST(Thermal, DieAloneIsAnExponential) {
  NpuThermal thermal = phone();
  thermal.c_skin_j_per_c = 6e5;
  const Temperatures start = steady_temperatures(thermal, 0);
  const double rise = thermal.r_die_c_per_w * 4;
  for (double t : {0.1, 1.0, 7.2, 30.0}) {
    const Temperatures now = step_temperatures(thermal, start, 4, t);
    const double expected = start.die_c + rise * (1 - std::exp(-t / 7.2));
    EXPECT_NEAR(now.die_c, expected, rise * 1e-5) << t;
  }
}

// With a die that follows at once, the skin alone is one RC, bent by at most c_die / c_skin.
TEST(Thermal, SkinAloneIsAnExponential) {
  NpuThermal thermal = phone();
  thermal.c_die_j_per_c = 1e-4;
  const Temperatures start = steady_temperatures(thermal, 0);
  for (double t : {10.0, 300.0, 1000.0}) {
    const Temperatures now = step_temperatures(thermal, start, 4, t);
    EXPECT_NEAR(now.skin_c, start.skin_c + 16 * (1 - std::exp(-t / 300)), 16 * 1e-5) << t;
  }
}

TEST(Thermal, StepsOfAnyLengthAgree) {
  const NpuThermal thermal = phone();
  const Temperatures start{60, 30};
  const Temperatures whole = step_temperatures(thermal, start, 3, 100);
  Temperatures now = start;
  for (int i = 0; i < 1000; ++i) now = step_temperatures(thermal, now, 3, 0.1);
  EXPECT_NEAR(now.die_c, whole.die_c, 1e-9);
  EXPECT_NEAR(now.skin_c, whole.skin_c, 1e-9);
  const Temperatures none = step_temperatures(thermal, start, 3, 0);
  EXPECT_DOUBLE_EQ(none.die_c, 60);
  EXPECT_DOUBLE_EQ(none.skin_c, 30);
}

// What came in is in the two masses or went out through r_skin. The loss is integrated by Simpson's
// rule over 0.1 s: its error is of the order dt^4 of a curve with a time constant of 7 s.
TEST(Thermal, EnergyIsConserved) {
  const NpuThermal thermal = phone();
  const Temperatures start{40, 26};
  const double watts = 4, dt = 0.1, seconds = 200;
  double lost = 0;
  Temperatures now = start;
  const auto flow = [&](const Temperatures& t) {
    return (t.skin_c - thermal.ambient_c) / thermal.r_skin_c_per_w;
  };
  for (int i = 0; i < 2000; ++i) {
    const Temperatures middle = step_temperatures(thermal, now, watts, dt / 2);
    const Temperatures next = step_temperatures(thermal, now, watts, dt);
    lost += dt * (flow(now) + 4 * flow(middle) + flow(next)) / 6;
    now = next;
  }
  const double stored = thermal.c_die_j_per_c * (now.die_c - start.die_c) +
                        thermal.c_skin_j_per_c * (now.skin_c - start.skin_c);
  const double in = (watts + 1.5) * seconds;
  EXPECT_NEAR(stored + lost, in, in * 1e-9);
}

TEST(Thermal, ThrottlingHasHysteresis) {
  const NpuThermal thermal = phone();
  EXPECT_EQ(throttle_step(thermal, 79.9, 0), 0u);
  EXPECT_EQ(throttle_step(thermal, 80, 0), 1u);
  EXPECT_EQ(throttle_step(thermal, 76, 1), 1u);
  EXPECT_EQ(throttle_step(thermal, 74.9, 1), 0u);
  EXPECT_EQ(throttle_step(thermal, 120, 0), 2u);
  EXPECT_EQ(throttle_step(thermal, 91, 2), 2u);
  EXPECT_EQ(throttle_step(thermal, 20, 2), 0u);
  EXPECT_EQ(throttled_state(thermal, 0, 0), 0u);
  EXPECT_EQ(throttled_state(thermal, 0, 1), 1u);
  EXPECT_EQ(throttled_state(thermal, 2, 1), 2u);
}

Result<TokenCost> token_cost(std::uint32_t state) {
  const double seconds[] = {0.02, 0.025, 0.04};
  const double joules[] = {0.12, 0.1, 0.05};
  return TokenCost{seconds[state], joules[state], joules[state] / 2};
}

TEST(Sustain, CountsAddUp) {
  NpuThermal thermal = phone();
  thermal.throttle.clear();
  const auto result = sustain(thermal, token_cost, {10.5, 1, 0});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->points.size(), 11u);
  EXPECT_DOUBLE_EQ(result->seconds, 10.5);
  EXPECT_NEAR(result->tokens, 525, 1e-9);
  EXPECT_NEAR(result->die_joules, 525 * 0.12, 1e-9);
  EXPECT_NEAR(result->device_joules, 525 * 0.06, 1e-9);
  EXPECT_NEAR(result->joules, 525 * 0.12 + 10.5 * 1.5, 1e-9);
  EXPECT_NEAR(result->points[0].joules_per_token, 0.12 + 1.5 * 0.02, 1e-12);
}

// 6 W would take the die to 127 C: it reaches the first threshold, slows, and never runs away.
TEST(Sustain, HeatSlowsAndTheDieStaysNearTheThreshold) {
  const auto result = sustain(phone(), token_cost, {600, 1, 0});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->points.front().clock_state, 0u);
  EXPECT_GT(result->points.back().clock_state, 0u);
  EXPECT_LT(result->tokens_per_second(), 50);
  EXPECT_GT(result->tokens_per_second(), 25);
  for (const SustainPoint& point : result->points) EXPECT_LT(point.temperatures.die_c, 100);
}

TEST(Sustain, ASlowerStateThatIsAskedForIsKept) {
  const auto result = sustain(phone(), token_cost, {60, 1, 2});
  ASSERT_TRUE(result.ok());
  for (const SustainPoint& point : result->points) EXPECT_EQ(point.clock_state, 2u);
}

TEST(Sustain, NonsenseIsRefused) {
  for (const SustainOptions& options :
       {SustainOptions{0, 1, 0}, SustainOptions{-1, 1, 0}, SustainOptions{10, 0, 0},
        SustainOptions{std::nan(""), 1, 0}, SustainOptions{1e9, 1e-3, 0}}) {
    const auto result = sustain(phone(), token_cost, options);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), ErrorCode::kInvalidArgument);
  }
  const auto failing = sustain(
      phone(), [](std::uint32_t) -> Result<TokenCost> { return unsupported("no"); }, {1, 1, 0});
  EXPECT_EQ(failing.status().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace cria

#include "api/power_profile.h"

#include <gtest/gtest.h>

namespace cria {
namespace {

TEST(PowerProfile, EachAsksForLess) {
  const auto high = cpu_power("high_performance", 8);
  const auto balanced = cpu_power("balanced", 8);
  const auto low = cpu_power("low_power", 8);
  ASSERT_TRUE(high.ok() && balanced.ok() && low.ok());
  EXPECT_EQ(high->n_threads, 8);
  EXPECT_GT(high->spin_us, 0);
  EXPECT_EQ(balanced->n_threads, 8);
  EXPECT_EQ(balanced->spin_us, 0);
  EXPECT_EQ(low->n_threads, 4);
  EXPECT_GT(low->max_tokens_per_second, 0);
  EXPECT_EQ(cpu_power("low_power", 1)->n_threads, 1);
}

TEST(PowerProfile, OthersAreRefused) {
  for (const char* name : {"", "warp", "Balanced"}) {
    const auto power = cpu_power(name, 8);
    ASSERT_FALSE(power.ok());
    EXPECT_EQ(power.status().code(), ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace cria

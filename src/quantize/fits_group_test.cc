#include "quantize/fits_group.h"

#include <gtest/gtest.h>

namespace cria {
namespace {

TEST(FitsGroup, WhatTheDeviceHasFits) {
  const int groups[] = {32, 128, 0};
  const DeviceGroups device = {groups, 32};
  for (Encoding encoding : {Encoding::kQ4, Encoding::kQ4G128, Encoding::kQ8C, Encoding::kF16}) {
    EXPECT_TRUE(fits_group(device, encoding).fits) << encoding_spec(encoding).name;
  }
}

TEST(FitsGroup, NarrowerBlocksComeFirst) {
  const int groups[] = {32, 128, 0};
  const GroupFit fit = fits_group({groups, 32}, Encoding::kQ4G64);
  EXPECT_FALSE(fit.fits);
  EXPECT_EQ(fit.instead, Encoding::kQ4);
  EXPECT_EQ(fit.reason, "q4g64: groups of 64 columns, which the device does not have; q4 fits");
}

TEST(FitsGroup, ElseTheNarrowestWider) {
  const int groups[] = {64, 128, 0};
  EXPECT_EQ(fits_group({groups, 32}, Encoding::kQ3).instead, Encoding::kQ3G64);
  const int rows[] = {0};
  EXPECT_EQ(fits_group({rows, 32}, Encoding::kQ8G128).instead, Encoding::kQ8C);
  EXPECT_EQ(fits_group({rows, 32}, Encoding::kQ6).instead, std::nullopt);
}

TEST(FitsGroup, GroupsThatEndInsideATileWasteLanes) {
  const int groups[] = {32, 64, 128};
  const GroupFit fit = fits_group({groups, 128}, Encoding::kQ4Min);
  EXPECT_FALSE(fit.fits);
  EXPECT_EQ(fit.instead, Encoding::kQ4MinG128);
  EXPECT_EQ(fit.reason, "q4min: groups of 32 columns, but tiles of 128 columns; q4ming128 fits");
}

}  // namespace
}  // namespace cria

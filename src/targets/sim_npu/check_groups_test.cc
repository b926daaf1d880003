#include <gtest/gtest.h>

#include "targets/sim_npu/lower_to_npu.h"

namespace cria {
namespace {

NpuProfile with_groups(std::vector<std::uint32_t> sizes) {
  NpuProfile profile;
  profile.name = std::string(1, 'x');
  profile.limits.group_sizes = std::move(sizes);
  return profile;
}

TEST(CheckGroups, WhatTheDeviceHasFits) {
  const NpuProfile profile = with_groups({0, 32, 128});
  for (Encoding encoding : {Encoding::kQ4, Encoding::kQ4G128, Encoding::kQ8C, Encoding::kF16}) {
    EXPECT_TRUE(check_groups(profile, encoding).ok()) << encoding_spec(encoding).name;
  }
}

TEST(CheckGroups, NarrowerGroupsComeFirst) {
  const Status status = check_groups(with_groups({0, 32, 128}), Encoding::kQ4G64);
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
  EXPECT_EQ(status.message(),
            "q4g64 has groups of 64 columns; x takes groups of a whole row, 32, 128; q4 fits");
}

TEST(CheckGroups, ElseTheNarrowestWider) {
  EXPECT_EQ(check_groups(with_groups({0, 64, 128}), Encoding::kQ3).message(),
            "q3 has groups of 32 columns; x takes groups of a whole row, 64, 128; q3g64 fits");
  EXPECT_EQ(check_groups(with_groups({0}), Encoding::kQ8G128).message(),
            "q8g128 has groups of 128 columns; x takes groups of a whole row; q8c fits");
}

TEST(CheckGroups, ScalesOfTwoLevelsFitAsPlainOnes) {
  EXPECT_EQ(check_groups(with_groups({64, 128}), Encoding::kQ4NlK).message(),
            "q4nlk has groups of 32 columns; x takes groups of 64, 128; q4nlg64 fits");
  EXPECT_EQ(check_groups(with_groups({0, 32}), Encoding::kQ6K).message(),
            "q6k has groups of 16 columns; x takes groups of a whole row, 32; q6 fits");
}

TEST(CheckGroups, WithoutAFitTheSizesAreNamed) {
  EXPECT_EQ(check_groups(with_groups({0}), Encoding::kQ5Min).message(),
            "q5min has groups of 32 columns; x takes groups of a whole row");
}

}  // namespace
}  // namespace cria

#include "tensor/encoding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace cria {
namespace {

TEST(Encoding, TableIsIndexedByNumberAndNamesAreUnique) {
  for (std::uint32_t i = 0; i < kEncodingCount; ++i) {
    const auto encoding = encoding_from_number(i);
    ASSERT_TRUE(encoding.has_value());
    const EncodingSpec spec = encoding_spec(*encoding);
    EXPECT_EQ(static_cast<std::uint32_t>(spec.encoding), i);
    EXPECT_EQ(encoding_from_name(spec.name), spec.encoding) << spec.name;
  }
  EXPECT_FALSE(encoding_from_number(kEncodingCount).has_value());
  EXPECT_FALSE(encoding_from_number(0xffffffffu).has_value());
  EXPECT_FALSE(encoding_from_name("").has_value());
  EXPECT_FALSE(encoding_from_name("q4 ").has_value());
}

TEST(Encoding, BitsPerWeightAreThoseOfTheTypesTheyCarry) {
  EXPECT_DOUBLE_EQ(bits_per_weight(Encoding::kQ8), 34.0 * 8 / 32);
  EXPECT_DOUBLE_EQ(bits_per_weight(Encoding::kQ4), 18.0 * 8 / 32);
  EXPECT_DOUBLE_EQ(bits_per_weight(Encoding::kMxfp4), 17.0 * 8 / 32);
  EXPECT_DOUBLE_EQ(bits_per_weight(Encoding::kQ6K), 210.0 * 8 / 256);
  EXPECT_DOUBLE_EQ(bits_per_weight(Encoding::kBF16), 16.0);
}

// Marks [at, at + n) of a panel as taken, once.
void take(std::vector<bool>& taken, std::int64_t at, std::int64_t n, const char* what) {
  ASSERT_GE(at, 0) << what;
  ASSERT_LE(at + n, static_cast<std::int64_t>(taken.size())) << what;
  for (std::int64_t i = at; i < at + n; ++i) {
    EXPECT_FALSE(taken[static_cast<std::size_t>(i)]) << what << " at " << i;
    taken[static_cast<std::size_t>(i)] = true;
  }
}

TEST(Encoding, PartsOfAPanelFollowEachOtherAligned) {
  for (const EncodingSpec& spec : kEncodingTable) {
    for (std::int64_t n_cols : {1, 31, 32, 33, 160, 256, 257, 3072}) {
      SCOPED_TRACE(testing::Message() << spec.name << " " << n_cols);
      const PanelLayout layout = panel_layout(spec.encoding, n_cols);
      EXPECT_EQ(layout.size_bytes % 64, 0u);
      if (spec.dense()) {
        const auto elements = static_cast<std::size_t>(kPanelRows * n_cols * spec.bits / 8);
        EXPECT_GE(layout.size_bytes, elements);
        EXPECT_LT(layout.size_bytes, elements + 64);
        continue;
      }
      const int shift = layout.scale_shift;
      const std::int64_t n_groups = (n_cols + kColumnGroup - 1) / kColumnGroup;
      std::vector<bool> taken(layout.size_bytes);
      std::int64_t end = 0;  // of the lines of the groups so far
      for (std::int64_t g = 0; g < n_groups; ++g) {
        const std::int64_t codes = spec.codes_offset(g, shift);
        EXPECT_EQ(codes % 64, 0);
        take(taken, codes, spec.group_bytes(), "codes");
        if (g % (std::int64_t{1} << shift) == 0) {
          take(taken, spec.scales_offset(g, shift), spec.unit_bytes(), "scales");
        }
        if (spec.scale == ScaleKind::kSuper && g % kGroupsPerSuper == 0) {
          take(taken, spec.supers_offset(g), spec.super_bytes(), "supers");
        }
        // What a group needs is read with it or was with those before, whose lines end where its
        // begin.
        EXPECT_EQ(spec.group_offset(g, shift), end);
        EXPECT_LE(spec.scales_offset(g, shift) + spec.unit_bytes(), codes);
        EXPECT_LE(spec.supers_offset(g) + spec.super_bytes(), codes);
        end = codes + spec.group_bytes();
      }
      // No line is for nothing.
      for (std::size_t line = 0; line < taken.size(); line += 64) {
        const auto first = taken.begin() + static_cast<std::ptrdiff_t>(line);
        EXPECT_TRUE(std::find(first, first + 64, true) != first + 64) << line;
      }
    }
    // In a wide panel nothing but the described data is left: exactly so where scales repeat, and
    // one line of scales (and mins) per channel.
    const double bits = 8.0 * static_cast<double>(panel_layout(spec.encoding, 8192).size_bytes);
    const double expected = 16 * 8192 * bits_per_weight(spec.encoding);
    if (spec.block == kPerChannel) {
      EXPECT_NEAR(bits, expected, 64 * 8) << spec.name;
    } else {
      EXPECT_DOUBLE_EQ(bits, expected) << spec.name;
    }
  }
}

TEST(Encoding, HandComputedLayoutOfQ4) {
  const EncodingSpec spec = encoding_spec(Encoding::kQ4);
  EXPECT_EQ(spec.scales_offset(0, 0), 0);
  EXPECT_EQ(spec.scales_offset(1, 0), 32);
  EXPECT_EQ(spec.codes_offset(0, 0), 64);
  EXPECT_EQ(spec.codes_offset(1, 0), 64 + 256);
  EXPECT_EQ(spec.scales_offset(2, 0), 64 + 512);
  EXPECT_EQ(spec.codes_offset(2, 0), 64 + 512 + 64);
  EXPECT_EQ(panel_layout(Encoding::kQ4, 96).size_bytes, 2u * 64 + 3 * 256);
}

TEST(Encoding, HandComputedLayoutsOfTwoLevels) {
  const EncodingSpec q4 = encoding_spec(Encoding::kQ4KMin);
  EXPECT_EQ(q4.supers_offset(0), 0);
  EXPECT_EQ(q4.scales_offset(0, 0), 64);
  EXPECT_EQ(q4.scales_offset(1, 0), 64 + 16 + 16);
  EXPECT_EQ(q4.codes_offset(0, 0), 64 + 64);
  EXPECT_EQ(q4.codes_offset(2, 0), 64 + 64 + 512 + 64);
  EXPECT_EQ(q4.supers_offset(7), 0);
  EXPECT_EQ(q4.supers_offset(8), 64 + 4 * (64 + 512));
  EXPECT_EQ(q4.scales_offset(8, 0), q4.supers_offset(8) + 64);
  EXPECT_EQ(panel_layout(Encoding::kQ4KMin, 512).size_bytes, 2u * (64 + 4 * (64 + 512)));

  const EncodingSpec q2 = encoding_spec(Encoding::kQ2KMin);  // two blocks, a line a group
  EXPECT_EQ(q2.unit_bytes(), 64);
  EXPECT_EQ(q2.codes_offset(0, 0), 64 + 64);
  EXPECT_EQ(q2.scales_offset(1, 0), 64 + 64 + 128);
  EXPECT_EQ(q2.codes_offset(1, 0), 64 + 64 + 128 + 64);
  EXPECT_EQ(q2.supers_offset(8), 64 + 8 * (64 + 128));

  const EncodingSpec q3 = encoding_spec(Encoding::kQ3K);  // no mins: two super blocks a line
  EXPECT_EQ(q3.supers_offset(8), 32);
  EXPECT_EQ(q3.codes_offset(8, 0), 64 + 4 * (64 + 2 * 192) + 64);
  EXPECT_EQ(q3.supers_offset(16), 64 + 8 * (64 + 2 * 192));
  EXPECT_EQ(q3.supers_offset(24), q3.supers_offset(16) + 32);
}

TEST(Encoding, WiderBlocksHaveTheKernelsOfBlocksOf32) {
  for (const EncodingSpec& spec : kEncodingTable) {
    const EncodingSpec form = encoding_spec(kernel_form(spec.encoding));
    EXPECT_EQ(form.bits, spec.bits) << spec.name;
    EXPECT_EQ(form.codebook, spec.codebook) << spec.name;
    EXPECT_EQ(form.scale, spec.scale) << spec.name;
    EXPECT_EQ(form.has_min, spec.has_min) << spec.name;
    EXPECT_LE(form.block, kColumnGroup) << spec.name;
    if (spec.block <= kColumnGroup) {
      EXPECT_EQ(form.encoding, spec.encoding) << spec.name;
    }
  }
}

TEST(Encoding, BlocksAreFoundByTheirWidth) {
  EXPECT_EQ(encoding_with_block(Encoding::kQ4, 128), Encoding::kQ4G128);
  EXPECT_EQ(encoding_with_block(Encoding::kQ4G128, 32), Encoding::kQ4);
  EXPECT_EQ(encoding_with_block(Encoding::kQ3Min, kPerChannel), Encoding::kQ3MinC);
  EXPECT_EQ(encoding_with_block(Encoding::kQ5Min, 64), std::nullopt);
  EXPECT_EQ(encoding_with_block(Encoding::kQ6K, 32), std::nullopt);
  EXPECT_EQ(plain_encoding(Encoding::kQ6K, 32), Encoding::kQ6);
  EXPECT_EQ(plain_encoding(Encoding::kQ4NlK, 128), Encoding::kQ4NlG128);
  EXPECT_EQ(plain_encoding(Encoding::kQ5KMin, 64), std::nullopt);
  EXPECT_EQ(encoding_from_name("q2ming64"), Encoding::kQ2MinG64);
  for (Encoding base : {Encoding::kQ8, Encoding::kQ8Min, Encoding::kQ4, Encoding::kQ4Min,
                        Encoding::kQ4Nl, Encoding::kQ3, Encoding::kQ3Min, Encoding::kQ2,
                        Encoding::kQ2Min, Encoding::kQ6, Encoding::kQ5}) {
    for (int block : {32, 64, 128, kPerChannel}) {
      const auto encoding = encoding_with_block(base, block);
      ASSERT_TRUE(encoding.has_value()) << encoding_spec(base).name << " " << block;
      EXPECT_EQ(encoding_spec(*encoding).block, block);
      EXPECT_EQ(kernel_form(*encoding), base);
    }
  }
}

// 96 columns are three groups of 32: a block of 64 and a half one; a row of 4096 has one scale.
TEST(Encoding, HandComputedLayoutsOfWiderBlocks) {
  const PanelLayout pairs = panel_layout(Encoding::kQ4MinG64, 96);
  EXPECT_EQ(pairs.scale_shift, 1);
  const EncodingSpec spec = encoding_spec(Encoding::kQ4MinG64);
  EXPECT_EQ(spec.scales_offset(1, 1), 0);
  EXPECT_EQ(spec.codes_offset(1, 1), 64 + 256);
  EXPECT_EQ(spec.scales_offset(2, 1), 64 + 2 * 256);
  EXPECT_EQ(pairs.size_bytes, 64u + 2 * 256 + 64 + 256);
  EXPECT_EQ(panel_layout(Encoding::kQ8G128, 4096).scale_shift, 2);
  const PanelLayout channel = panel_layout(Encoding::kQ3C, 4096);
  EXPECT_EQ(4096 / 32 >> channel.scale_shift, 0);
  EXPECT_EQ(channel.size_bytes, 128u * 3 * 64 + 64);
  EXPECT_EQ(panel_layout(Encoding::kQ6K, 4096).scale_shift, 0);
}

TEST(Encoding, PackedSizeRefusesWhatIsNotAShape) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  for (const EncodingSpec& spec : kEncodingTable) {
    EXPECT_FALSE(packed_size_bytes(spec.encoding, 0, 32).has_value());
    EXPECT_FALSE(packed_size_bytes(spec.encoding, 32, -1).has_value());
    EXPECT_FALSE(packed_size_bytes(spec.encoding, kMax, kMax).has_value());
    EXPECT_FALSE(packed_size_bytes(spec.encoding, std::int64_t{1} << 40, std::int64_t{1} << 40));
    EXPECT_EQ(packed_size_bytes(spec.encoding, 17, 40),
              2 * panel_layout(spec.encoding, 40).size_bytes);
  }
}

}  // namespace
}  // namespace cria

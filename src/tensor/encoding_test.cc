#include "tensor/encoding.h"

#include <gtest/gtest.h>

#include <limits>

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

TEST(Encoding, RegionsOfAPanelFollowEachOtherAligned) {
  for (const EncodingSpec& spec : kEncodingTable) {
    for (std::int64_t n_cols : {1, 31, 32, 33, 160, 256, 257, 3072}) {
      const PanelLayout layout = panel_layout(spec.encoding, n_cols);
      EXPECT_EQ(layout.codes_offset, 0u);
      EXPECT_LE(layout.codes_offset, layout.scales_offset);
      EXPECT_LE(layout.scales_offset, layout.mins_offset);
      EXPECT_LE(layout.mins_offset, layout.supers_offset);
      EXPECT_LE(layout.supers_offset, layout.size_bytes);
      EXPECT_EQ(layout.groups_end,
                spec.scales_behind_codes() ? layout.supers_offset : layout.scales_offset);
      for (std::size_t offset :
           {layout.groups_end, layout.scales_offset, layout.supers_offset, layout.size_bytes}) {
        EXPECT_EQ(offset % 64, 0u) << spec.name << " " << n_cols;
      }
      EXPECT_EQ(layout.mins_offset % (spec.scales_behind_codes() ? 32 : 64), 0u);
    }
    // In a wide panel nothing but the described data is left: exactly so where scales repeat, and
    // one aligned row of scales (and of mins) per channel.
    const double bits = 8.0 * static_cast<double>(panel_layout(spec.encoding, 8192).size_bytes);
    const double expected = 16 * 8192 * bits_per_weight(spec.encoding);
    if (spec.block == kPerChannel) {
      EXPECT_NEAR(bits, expected, 2 * 64 * 8) << spec.name;
    } else {
      EXPECT_DOUBLE_EQ(bits, expected) << spec.name;
    }
  }
}

TEST(Encoding, HandComputedLayoutOfQ4KMin) {
  const PanelLayout layout = panel_layout(Encoding::kQ4KMin, 512);
  EXPECT_EQ(layout.scales_offset, 16u * 512 / 2);
  EXPECT_EQ(layout.mins_offset, layout.scales_offset + 16u * 16);
  EXPECT_EQ(layout.supers_offset, layout.mins_offset + 16u * 16);
  EXPECT_EQ(layout.size_bytes, layout.supers_offset + 2u * 2 * 16 * 2);
}

TEST(Encoding, ScalesOfQ2KMinLieBehindTheirCodes) {
  for (const EncodingSpec& spec : kEncodingTable) {
    EXPECT_EQ(spec.scales_behind_codes(), spec.encoding == Encoding::kQ2KMin) << spec.name;
  }
  const PanelLayout layout = panel_layout(Encoding::kQ2KMin, 512);
  EXPECT_EQ(layout.scales_offset, 2u * 64);
  EXPECT_EQ(layout.mins_offset, 2u * 64 + 32);
  EXPECT_EQ(layout.groups_end, 16u * (2 * 64 + 32 + 32));
  EXPECT_EQ(layout.size_bytes, layout.groups_end + 2u * 2 * 16 * 2);
  const EncodingSpec spec = encoding_spec(Encoding::kQ2KMin);
  EXPECT_EQ(spec.group_bytes(), 192);
  EXPECT_EQ(spec.scale_offset(1), 16);
  EXPECT_EQ(spec.scale_offset(2), 192);
  EXPECT_EQ(spec.scale_offset(5), 2 * 192 + 16);
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
  EXPECT_EQ(pairs.scales_offset, 3u * 4 * 64);
  EXPECT_EQ(pairs.mins_offset, pairs.scales_offset + 2u * 16 * 2);
  EXPECT_EQ(pairs.size_bytes, pairs.mins_offset + 2u * 16 * 2);
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

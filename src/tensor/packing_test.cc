#include "tensor/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "tensor/code_words.h"
#include "tensor/e8p.h"
#include "tensor/float16.h"
#include "tensor/pairs.h"

namespace cria {
namespace {

constexpr std::int64_t kRowCounts[] = {1, 3, 16};
constexpr std::int64_t kColumnCounts[] = {1, 15, 16, 31, 32, 33, 47, 96, 255, 256, 257, 544};

template <typename T>
void fill_random(std::vector<T>& values, std::uint32_t mask, std::mt19937& random) {
  for (T& value : values) value = static_cast<T>(random() & mask);
}

// Any bits at all, except that half floats stay finite (exponents below 16: mask 0xbfff).
RowCodes random_row(Encoding encoding, std::int64_t n_cols, std::mt19937& random) {
  RowCodes row(encoding, n_cols);
  fill_random(row.codes, (1u << encoding_spec(encoding).bits) - 1, random);
  fill_random(row.scales_f16, 0xbfff, random);
  fill_random(row.scales_8, 0xff, random);
  fill_random(row.mins_f16, 0xbfff, random);
  fill_random(row.mins_8, 0xff, random);
  fill_random(row.super_scales, 0xbfff, random);
  fill_random(row.super_mins, 0xbfff, random);
  return row;
}

void expect_equal(const RowCodes& a, const RowCodes& b) {
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales_f16, b.scales_f16);
  EXPECT_EQ(a.scales_8, b.scales_8);
  EXPECT_EQ(a.mins_f16, b.mins_f16);
  EXPECT_EQ(a.mins_8, b.mins_8);
  EXPECT_EQ(a.super_scales, b.super_scales);
  EXPECT_EQ(a.super_mins, b.super_mins);
}

class BlockEncoding : public testing::TestWithParam<Encoding> {};

TEST_P(BlockEncoding, UnpackIsTheInverseOfPack) {
  std::mt19937 random(2);
  for (std::int64_t n_rows : kRowCounts) {
    for (std::int64_t n_cols : kColumnCounts) {
      SCOPED_TRACE(testing::Message() << n_rows << " x " << n_cols);
      std::vector<RowCodes> rows;
      for (std::int64_t r = 0; r < n_rows; ++r) {
        rows.push_back(random_row(GetParam(), n_cols, random));
      }
      std::vector<std::byte> panel(panel_layout(GetParam(), n_cols).size_bytes, std::byte{0xee});
      pack_panel(rows, panel);
      std::vector<float> expected(n_cols), decoded(n_cols);
      for (std::int64_t r = 0; r < n_rows; ++r) {
        expect_equal(unpack_row(GetParam(), panel, n_cols, r), rows[r]);
        decode_codes(rows[r], expected);
        decode_packed_row(GetParam(), panel, n_cols, r, decoded);
        EXPECT_EQ(decoded, expected);
      }
      for (std::int64_t r = n_rows; r < kPanelRows; ++r) {  // padding: zero codes, zero scales
        expect_equal(unpack_row(GetParam(), panel, n_cols, r), RowCodes(GetParam(), n_cols));
      }
    }
  }
}

// Padding columns are zero whatever the buffer held before: kernels read whole groups.
TEST_P(BlockEncoding, PaddingColumnsAreZero) {
  std::mt19937 random(3);
  std::vector<RowCodes> rows = {random_row(GetParam(), 33, random)};
  std::vector<std::byte> panel(panel_layout(GetParam(), 33).size_bytes, std::byte{0xee});
  pack_panel(rows, panel);
  const RowCodes wide = unpack_row(GetParam(), panel, 64, 0);
  for (std::size_t k = rows[0].codes.size(); k < 64; ++k) EXPECT_EQ(wide.codes[k], 0) << k;
}

TEST_P(BlockEncoding, DecodeIsScaleTimesCodebookPlusMin) {
  std::mt19937 random(4);
  const EncodingSpec spec = encoding_spec(GetParam());
  const RowCodes row = random_row(GetParam(), 272, random);
  std::vector<float> decoded(272);
  decode_codes(row, decoded);
  for (std::int64_t k = 0; k < 272; ++k) {
    const std::int64_t b = k / spec.block;
    int value = row.codes[k];
    if (spec.code_columns() > 1) {
      const int width = spec.code_columns();
      std::int8_t values[8];
      const std::uint32_t word = join_codes(row.codes.data() + k / width * width, width, spec.bits);
      spec.codebook == Codebook::kE8P ? e8p_decode_word(spec.bits, word, values)
                                      : pair_decode(pair_code_bits(spec.bits), word, values);
      value = values[k % width];
    }
    if (spec.codebook == Codebook::kSigned) value -= 1 << (spec.bits - 1);
    if (spec.codebook == Codebook::kIq4Nl || spec.codebook == Codebook::kMxfp4) {
      value = codebook_values(spec.codebook)[value];
    }
    // Exact in double: 19 bits times 8, plus 19 bits at most 2^54 apart; then one rounding.
    const double exact = static_cast<double>(block_scale(row, b)) * value + block_min(row, b);
    EXPECT_EQ(decoded[k], static_cast<float>(exact)) << k;
  }
}

std::vector<Encoding> block_encodings() {
  std::vector<Encoding> encodings;
  for (const EncodingSpec& spec : kEncodingTable) {
    if (!spec.dense()) encodings.push_back(spec.encoding);
  }
  return encodings;
}

std::string encoding_test_name(const testing::TestParamInfo<Encoding>& info) {
  return encoding_spec(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(All, BlockEncoding, testing::ValuesIn(block_encodings()),
                         encoding_test_name);

TEST(Packing, LanesOfQ4AreWhereTheFormatSays) {
  RowCodes row(Encoding::kQ4, 32);
  for (int k = 0; k < 32; ++k) row.codes[k] = static_cast<std::uint8_t>(k % 16);
  std::vector<RowCodes> rows(2, row);
  rows[0].codes.assign(32, 0);
  rows[1].scales_f16[0] = 0x3c00;
  std::vector<std::byte> panel(panel_layout(Encoding::kQ4, 32).size_bytes);
  pack_panel(rows, panel);
  // Codes begin behind the line of scales. Row 1 has lanes 4..7; plane 0 holds columns 0..3 low
  // and 4..7 high.
  EXPECT_EQ(panel[64 + 4], std::byte{0x40});
  EXPECT_EQ(panel[64 + 7], std::byte{0x73});
  EXPECT_EQ(panel[2 * 64 + 4], std::byte{0xc8});  // plane 1: columns 8 and 12
  EXPECT_EQ(panel[2], std::byte{0x00});
  EXPECT_EQ(panel[3], std::byte{0x3c});  // the scale of row 1
}

TEST(Packing, PlanesOfQ3AreWhereTheFormatSays) {
  RowCodes row(Encoding::kQ3, 32);
  row.codes[0] = 1;   // quad 0, column 0
  row.codes[5] = 2;   // quad 1, column 1
  row.codes[31] = 4;  // quad 7, column 3
  std::vector<std::byte> panel(panel_layout(Encoding::kQ3, 32).size_bytes);
  pack_panel({&row, 1}, panel);
  EXPECT_EQ(panel[64 + 0], std::byte{0x01});      // low plane 0, lane 0, bits 0-1
  EXPECT_EQ(panel[64 + 1], std::byte{0x08});      // low plane 0, lane 1, bits 2-3
  EXPECT_EQ(panel[3 * 64 + 3], std::byte{0x80});  // high plane, lane 3, bit 7
}

TEST(Packing, DenseRowsComeBackRounded) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (Encoding encoding : {Encoding::kF32, Encoding::kF16, Encoding::kBF16}) {
    for (std::int64_t n_rows : kRowCounts) {
      for (std::int64_t n_cols : {1, 7, 33}) {
        std::vector<float> rows(n_rows * n_cols);
        for (float& value : rows) value = normal(random);
        std::vector<std::byte> panel(panel_layout(encoding, n_cols).size_bytes, std::byte{0xee});
        pack_dense_panel(encoding, rows, n_cols, panel);
        std::vector<float> decoded(n_cols);
        for (std::int64_t r = 0; r < kPanelRows; ++r) {
          decode_packed_row(encoding, panel, n_cols, r, decoded);
          for (std::int64_t k = 0; k < n_cols; ++k) {
            float expected = r < n_rows ? rows[r * n_cols + k] : 0.0f;
            if (encoding == Encoding::kF16) expected = f16_to_f32(f32_to_f16(expected));
            if (encoding == Encoding::kBF16) expected = bf16_to_f32(f32_to_bf16(expected));
            EXPECT_EQ(decoded[k], expected);
          }
        }
      }
    }
  }
}

TEST(Packing, PlanesOfE8PAreWhereTheFormatSays) {
  RowCodes row(Encoding::kE8P4, 32);
  split_word(0x87654321, 8, 4, row.codes.data() + 24);  // the last octet
  std::vector<RowCodes> rows(2, RowCodes(Encoding::kE8P4, 32));
  rows[1] = row;
  std::vector<std::byte> panel(panel_layout(Encoding::kE8P4, 32).size_bytes);
  pack_panel(rows, panel);
  EXPECT_EQ(panel[1 * 64 + 4 + 3], std::byte{0x43});  // the first stage's vector, its signs
  EXPECT_EQ(panel[2 * 64 + 4 + 3], std::byte{0x21});
  EXPECT_EQ(panel[3 * 64 + 4 + 3], std::byte{0x87});  // the second's
  EXPECT_EQ(panel[4 * 64 + 4 + 3], std::byte{0x65});
}

TEST(Packing, PlanesOfPairsAreWhereTheFormatSays) {
  RowCodes row(Encoding::kQ4S24, 32);
  split_word(0xd5a, 4, 3, row.codes.data() + 4 * 6);  // quad 6: codes 10 and 5, places 1 and 3
  std::vector<std::byte> panel(panel_layout(Encoding::kQ4S24, 32).size_bytes);
  pack_panel({&row, 1}, panel);
  EXPECT_EQ(panel[2 * 64 + 2], std::byte{0x5a});
  EXPECT_EQ(panel[3 * 64 + 2], std::byte{0xd0});
  std::vector<float> decoded(32);
  row.scales_f16[0] = 0x3c00;
  decode_codes(row, decoded);
  EXPECT_EQ(std::vector<float>(decoded.begin() + 24, decoded.begin() + 28),
            (std::vector<float>{0, 2, 0, -3}));
}

// Every pattern of at most two in four, also in a row's last columns; and what has three of them.
TEST(Packing, PairsDecodeToTheSameWeights) {
  std::mt19937 random(7);
  for (auto [plain, pairs] :
       {std::pair{Encoding::kQ4, Encoding::kQ4S24}, std::pair{Encoding::kQ8, Encoding::kQ8S24}}) {
    const int n_codes = 1 << encoding_spec(plain).bits;
    const auto zero = static_cast<std::uint8_t>(n_codes / 2);
    for (std::int64_t n_cols : {1, 2, 3, 4, 31, 256}) {
      RowCodes from = random_row(plain, n_cols, random), to(pairs, n_cols);
      for (std::int64_t k = 0; k < n_cols; k += 4) {
        const auto keep = random() % 11;  // none, one, or two of four
        constexpr unsigned kPatterns[11] = {0, 1, 2, 4, 8, 3, 5, 9, 6, 10, 12};
        for (std::int64_t i = k; i < std::min<std::int64_t>(k + 4, n_cols); ++i) {
          if ((kPatterns[keep] >> (i - k) & 1) == 0) from.codes[i] = zero;
        }
      }
      ASSERT_TRUE(pairs_of_codes(from, to));
      std::vector<float> expected(n_cols), found(n_cols);
      decode_codes(from, expected);
      decode_codes(to, found);
      EXPECT_EQ(found, expected);
    }
    RowCodes full(plain, 4), out(pairs, 4);
    full.codes = {1, 1, zero, 1};
    EXPECT_FALSE(pairs_of_codes(full, out));
  }
}

TEST(Packing, SecondPanelIsFound) {
  std::mt19937 random(6);
  const std::size_t panel_bytes = panel_layout(Encoding::kQ5KMin, 300).size_bytes;
  std::vector<std::byte> packed(2 * panel_bytes);
  std::vector<RowCodes> rows;
  for (int r = 0; r < 20; ++r) rows.push_back(random_row(Encoding::kQ5KMin, 300, random));
  pack_panel({rows.data(), 16}, {packed.data(), panel_bytes});
  pack_panel({rows.data() + 16, 4}, {packed.data() + panel_bytes, panel_bytes});
  for (int r = 0; r < 20; ++r) expect_equal(unpack_row(Encoding::kQ5KMin, packed, 300, r), rows[r]);
}

}  // namespace
}  // namespace cria

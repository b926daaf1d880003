#include "tensor/gptq_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tensor/packed_layouts_for_test.h"
#include "tensor/packing.h"

namespace cria {
namespace {

using ::testing::HasSubstr;
using Rows = Result<std::shared_ptr<const RowSource>>;

template <typename T>
Elements<T> elements(const std::string& bytes, std::int64_t n_rows, std::int64_t n_cols) {
  return {n_rows, n_cols, std::as_bytes(std::span(bytes))};
}

GptqTensors gptq_tensors(const IntegerMatrix& m, const GptqBytes& bytes, std::int64_t group_size,
                         bool version_1) {
  return {.bits = m.bits,
          .group_size = group_size,
          .zeros_less_one = version_1,
          .codes = elements<std::uint32_t>(bytes.qweight, m.n_cols * m.bits / 32, m.n_rows),
          .zeros = elements<std::uint32_t>(bytes.qzeros, m.n_groups, m.n_rows * m.bits / 32),
          .scales = elements<std::uint16_t>(bytes.scales, m.n_groups, m.n_rows),
          .g_idx = elements<std::int32_t>(bytes.g_idx, 1, m.n_cols)};
}

AwqTensors awq_tensors(const IntegerMatrix& m, const GptqBytes& bytes, std::int64_t group_size) {
  return {.group_size = group_size,
          .codes = elements<std::uint32_t>(bytes.qweight, m.n_cols, m.n_rows / 8),
          .zeros = elements<std::uint32_t>(bytes.qzeros, m.n_groups, m.n_rows / 8),
          .scales = elements<std::uint16_t>(bytes.scales, m.n_groups, m.n_rows)};
}

// A row through codes, panel and back: what a kernel reads.
std::vector<float> carried_row(const RowSource& source, Encoding encoding, std::int64_t row,
                               std::int64_t n_cols) {
  std::vector<RowCodes> codes(1, RowCodes(encoding, n_cols));
  source.split_row(row, codes[0]);
  std::vector<std::byte> panel(panel_layout(encoding, n_cols).size_bytes);
  pack_panel(codes, panel);
  std::vector<float> floats(static_cast<std::size_t>(n_cols));
  decode_packed_row(encoding, panel, n_cols, 0, floats);
  return floats;
}

// Every weight is `expected(row, column)`, bit for bit, as floats and (where that is claimed)
// through codes, in the widest blocks and in all narrower ones.
template <typename Expected>
void expect_weights(const RowSource& source, std::int64_t n_rows, std::int64_t n_cols,
                    const Expected& expected) {
  std::vector<float> floats(static_cast<std::size_t>(n_cols));
  for (std::int64_t r = 0; r < n_rows; ++r) {
    source.decode_row(r, floats);
    for (std::int64_t k = 0; k < n_cols; ++k) {
      ASSERT_EQ(floats[k], expected(r, k)) << "row " << r << " column " << k;
    }
    if (!source.why_inexact().empty()) continue;
    for (const EncodingSpec& spec : kEncodingTable) {
      if (!has_codes_of(source.encoding(), spec.encoding)) continue;
      ASSERT_EQ(carried_row(source, spec.encoding, r, n_cols), floats)
          << spec.name << ", row " << r;
    }
  }
}

TEST(RowSource, NarrowBlocksHoldWhatWideOnesDo) {
  EXPECT_TRUE(has_codes_of(Encoding::kQ5C, Encoding::kQ5C));
  EXPECT_TRUE(has_codes_of(Encoding::kQ5C, Encoding::kQ5G128));
  EXPECT_TRUE(has_codes_of(Encoding::kQ5G128, Encoding::kQ5));
  EXPECT_FALSE(has_codes_of(Encoding::kQ5, Encoding::kQ5G128));
  EXPECT_FALSE(has_codes_of(Encoding::kQ5G128, Encoding::kQ6));
  EXPECT_FALSE(has_codes_of(Encoding::kQ4MinG64, Encoding::kQ4));
}

TEST(GptqRows, EveryWidthGroupAndVersionIsExact) {
  for (const int bits : {2, 3, 4, 8}) {
    for (const std::int64_t group_size : {32, 64, 128, -1}) {
      for (const bool version_1 : {true, false}) {
        SCOPED_TRACE(
            fmt::format("{} bits, groups of {}, version {}", bits, group_size, version_1 ? 1 : 2));
        const IntegerMatrix m = random_integer_matrix(
            {.bits = bits, .n_rows = 64, .n_cols = 256, .group_size = group_size},
            static_cast<std::uint32_t>(bits));
        const GptqBytes bytes = gptq_bytes(m, version_1);
        const Rows rows =
            open_gptq_rows(gptq_tensors(m, bytes, group_size, version_1), m.n_rows, m.n_cols);
        ASSERT_TRUE(rows.ok()) << rows.status().message();
        EXPECT_EQ((*rows)->why_inexact().empty(), bits != 8);
        const int block = group_size == -1 ? kPerChannel : static_cast<int>(group_size);
        EXPECT_EQ(encoding_spec((*rows)->encoding()).block, bits == 8 ? 32 : block);
        expect_weights(**rows, m.n_rows, m.n_cols, [&](std::int64_t r, std::int64_t k) {
          EXPECT_EQ(m.weight(r, k), gptq_weight(bytes, m, version_1, r, k));
          return m.weight(r, k);
        });
      }
    }
  }
}

TEST(GptqRows, SymmetricCodesKeepTheirWidth) {
  const std::pair<int, Encoding> widths[] = {
      {2, Encoding::kQ2G64}, {3, Encoding::kQ3G64}, {4, Encoding::kQ4G64}, {8, Encoding::kQ8G64}};
  for (const auto& [bits, encoding] : widths) {
    const IntegerMatrix m = random_integer_matrix(
        {.bits = bits, .n_rows = 32, .n_cols = 128, .group_size = 64, .symmetric = true}, 7);
    const GptqBytes bytes = gptq_bytes(m, true);
    if (bits == 4) {  // as in every symmetric file
      EXPECT_EQ(bytes.qzeros, std::string(bytes.qzeros.size(), '\x77'));
    }
    const Rows rows = open_gptq_rows(gptq_tensors(m, bytes, 64, true), m.n_rows, m.n_cols);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ((*rows)->encoding(), encoding);
    EXPECT_EQ((*rows)->why_inexact(), "");
    expect_weights(**rows, m.n_rows, m.n_cols,
                   [&](std::int64_t r, std::int64_t k) { return m.weight(r, k); });
  }
}

TEST(GptqRows, ReadsGroupsInAnyOrder) {
  IntegerMatrix m = random_integer_matrix({.n_rows = 32, .n_cols = 128, .group_size = 32}, 5);
  std::shuffle(m.group_of_column.begin(), m.group_of_column.end(), std::mt19937(1));
  GptqBytes bytes = gptq_bytes(m, true);
  const auto open = [&] {
    return open_gptq_rows(gptq_tensors(m, bytes, 32, true), m.n_rows, m.n_cols);
  };
  Rows rows = open();
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_THAT((*rows)->why_inexact(), HasSubstr("several groups lie in one block of 32"));
  EXPECT_EQ((*rows)->encoding(), Encoding::kQ8);
  expect_weights(**rows, m.n_rows, m.n_cols,
                 [&](std::int64_t r, std::int64_t k) { return gptq_weight(bytes, m, true, r, k); });

  // Whole blocks out of order are no loss.
  for (std::int64_t k = 0; k < m.n_cols; ++k)
    m.group_of_column[k] = static_cast<std::int32_t>(3 - k / 32);
  bytes = gptq_bytes(m, true);
  rows = open();
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_EQ((*rows)->why_inexact(), "");
  expect_weights(**rows, m.n_rows, m.n_cols,
                 [&](std::int64_t r, std::int64_t k) { return m.weight(r, k); });
}

TEST(GptqRows, NamesWhatDoesNotFit) {
  const IntegerMatrix m = random_integer_matrix({.n_rows = 32, .n_cols = 64, .group_size = 32}, 5);
  GptqBytes bytes = gptq_bytes(m, true);
  const GptqTensors good = gptq_tensors(m, bytes, 32, true);
  const auto error = [&](const GptqTensors& tensors) {
    const Rows rows = open_gptq_rows(tensors, m.n_rows, m.n_cols);
    return rows.ok() ? "no error" : rows.status().message();
  };
  EXPECT_EQ(error(good), "no error");
  GptqTensors bad = good;
  bad.bits = 5;
  EXPECT_THAT(error(bad), HasSubstr("codes of 5 bits; only 2, 3, 4 and 8"));
  bad = good;
  bad.group_size = 0;
  EXPECT_THAT(error(bad), HasSubstr("group_size is 0"));
  bad.group_size = 16;
  EXPECT_THAT(error(bad), HasSubstr("scales has shape [2, 32], expected [4, 32]"));
  bad = good;
  bad.codes.n_rows = 7;
  EXPECT_THAT(error(bad), HasSubstr("qweight has shape [7, 32], expected [8, 32]"));
  bad = good;
  bad.zeros.n_cols = 5;
  EXPECT_THAT(error(bad), HasSubstr("qzeros has shape [2, 5], expected [2, 4]"));
  bad = good;
  bad.g_idx->n_cols = 63;
  EXPECT_THAT(error(bad), HasSubstr("g_idx has shape [1, 63], expected [1, 64]"));
  bytes.g_idx[4 * 9] = 2;
  EXPECT_THAT(error(good), HasSubstr("g_idx has group 2 for column 9, expected 0 to 1"));
  bytes.g_idx.replace(4 * 9, 4, "\xff\xff\xff\xff");
  EXPECT_THAT(error(good), HasSubstr("g_idx has group -1 for column 9"));
}

TEST(AwqRows, EveryGroupIsExact) {
  for (const std::int64_t group_size : {32, 64, 128, -1}) {
    SCOPED_TRACE(group_size);
    const IntegerMatrix m =
        random_integer_matrix({.n_rows = 48, .n_cols = 256, .group_size = group_size}, 9);
    const GptqBytes bytes = awq_bytes(m);
    const Rows rows = open_awq_rows(awq_tensors(m, bytes, group_size), m.n_rows, m.n_cols);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ((*rows)->why_inexact(), "");
    expect_weights(**rows, m.n_rows, m.n_cols, [&](std::int64_t r, std::int64_t k) {
      EXPECT_EQ(m.weight(r, k), awq_weight(bytes, m, r, k));
      return m.weight(r, k);
    });
  }
}

TEST(AwqRows, InterleavesEightRowsOfAWord) {
  // One word: the nibbles 0 to 7, from the lowest bits up, are rows 0 2 4 6 1 3 5 7.
  const std::uint32_t word = 0x76543210, no_zeros = 0;
  std::vector<std::uint16_t> ones(8, 0x3c00);
  const AwqTensors tensors{.group_size = -1,
                           .codes = {1, 1, std::as_bytes(std::span(&word, 1))},
                           .zeros = {1, 1, std::as_bytes(std::span(&no_zeros, 1))},
                           .scales = {1, 8, std::as_bytes(std::span(ones))}};
  const Rows rows = open_awq_rows(tensors, 8, 1);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  std::vector<float> found;
  for (int r = 0; r < 8; ++r) {
    float value = -1;
    (*rows)->decode_row(r, std::span(&value, 1));
    found.push_back(value);
  }
  EXPECT_THAT(found, ::testing::ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
}

TEST(AwqRows, NamesWhatDoesNotFit) {
  const IntegerMatrix m = random_integer_matrix({.n_rows = 32, .n_cols = 64, .group_size = 32}, 5);
  const GptqBytes bytes = awq_bytes(m);
  const auto error = [&](const AwqTensors& tensors, std::int64_t n_rows = 32) {
    const Rows rows = open_awq_rows(tensors, n_rows, m.n_cols);
    return rows.ok() ? "no error" : rows.status().message();
  };
  const AwqTensors good = awq_tensors(m, bytes, 32);
  EXPECT_EQ(error(good), "no error");
  EXPECT_THAT(error(good, 40), HasSubstr("qweight has shape [64, 4], expected [64, 5]"));
  EXPECT_THAT(error(good, 36), HasSubstr("36 rows and 64 columns, expected multiples of 8"));
  AwqTensors bad = good;
  bad.group_size = 48;
  EXPECT_THAT(error(bad), HasSubstr("of the group of 48"));
  bad.group_size = -2;
  EXPECT_THAT(error(bad), HasSubstr("group_size is -2"));
}

}  // namespace
}  // namespace cria

#include "tensor/exl2_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tensor/packed_layouts_for_test.h"
#include "tensor/packing.h"

namespace cria {
namespace {

using ::testing::HasSubstr;
using Rows = Result<std::shared_ptr<const RowSource>>;

template <typename T>
Elements<T> elements(const std::string& bytes, std::int64_t n_rows) {
  const auto n = static_cast<std::int64_t>(bytes.size() / sizeof(T));
  return {n_rows, n / n_rows, std::as_bytes(std::span(bytes))};
}

Exl2Tensors tensors_of(const Exl2Matrix& m, const Exl2Bytes& bytes) {
  const auto n_groups = static_cast<std::int64_t>(m.group_bits.size());
  return {.codes = elements<std::uint32_t>(bytes.q_weight, bytes.n_words),
          .scales = elements<std::uint32_t>(bytes.q_scale, n_groups),
          .largest_scales = elements<std::uint16_t>(bytes.q_scale_max, 1),
          .groups = elements<std::uint16_t>(bytes.q_groups, 1),
          .packed_of_column = m.packed_of_column};
}

Exl2Matrix mixed_matrix(bool permuted) {
  // 40 rows are padded to 64.
  return random_exl2_matrix(40, {8, 6, 5, 4, 4, 3, 2}, {32, 64, 32, 128, 32, 96, 64}, permuted, 11);
}

TEST(Exl2Rows, MixedWidthsInNaturalOrderAreExact) {
  const Exl2Matrix m = mixed_matrix(/*permuted=*/false);
  const Exl2Bytes bytes = exl2_bytes(m);
  const Rows rows = open_exl2_rows(tensors_of(m, bytes), m.n_rows, m.n_cols);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_EQ((*rows)->why_inexact(), "");
  EXPECT_EQ((*rows)->encoding(), Encoding::kQ8);
  std::vector<RowCodes> codes(1, RowCodes(Encoding::kQ8, m.n_cols));
  std::vector<std::byte> panel(panel_layout(Encoding::kQ8, m.n_cols).size_bytes);
  std::vector<float> floats(static_cast<std::size_t>(m.n_cols)), carried(floats.size());
  for (std::int64_t r = 0; r < m.n_rows; ++r) {
    (*rows)->decode_row(r, floats);
    (*rows)->split_row(r, codes[0]);
    pack_panel(codes, panel);
    decode_packed_row(Encoding::kQ8, panel, m.n_cols, 0, carried);
    for (std::int64_t k = 0; k < m.n_cols; ++k) {
      ASSERT_EQ(floats[k], m.weight(r, k)) << "row " << r << " column " << k;
      ASSERT_EQ(carried[k], m.weight(r, k)) << "row " << r << " column " << k;
    }
  }
}

TEST(Exl2Rows, PermutedColumnsDecodeExactly) {
  const Exl2Matrix m = mixed_matrix(/*permuted=*/true);
  const Exl2Bytes bytes = exl2_bytes(m);
  const Rows rows = open_exl2_rows(tensors_of(m, bytes), m.n_rows, m.n_cols);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_THAT((*rows)->why_inexact(), HasSubstr("several groups"));
  std::vector<float> floats(static_cast<std::size_t>(m.n_cols));
  for (std::int64_t r = 0; r < m.n_rows; ++r) {
    (*rows)->decode_row(r, floats);
    for (std::int64_t k = 0; k < m.n_cols; ++k) {
      ASSERT_EQ(floats[k], m.weight(r, k)) << "row " << r << " column " << k;
    }
  }
}

TEST(Exl2Rows, NarrowMatricesStayNarrow) {
  const Exl2Matrix m = random_exl2_matrix(32, {4, 3, 2}, {32, 32, 32}, false, 3);
  const Exl2Bytes bytes = exl2_bytes(m);
  const Rows rows = open_exl2_rows(tensors_of(m, bytes), m.n_rows, m.n_cols);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_EQ((*rows)->encoding(), Encoding::kQ4);
}

TEST(Exl2Rows, NamesWhatDoesNotFit) {
  const Exl2Matrix m = random_exl2_matrix(40, {5, 2}, {32, 64}, true, 3);
  Exl2Bytes bytes = exl2_bytes(m);
  const Exl2Tensors good = tensors_of(m, bytes);
  const auto error = [&](const Exl2Tensors& tensors) {
    const Rows rows = open_exl2_rows(tensors, m.n_rows, m.n_cols);
    return rows.ok() ? "no error" : rows.status().message();
  };
  EXPECT_EQ(error(good), "no error");
  Exl2Tensors bad = good;
  bad.packed_of_column.pop_back();
  EXPECT_THAT(error(bad), HasSubstr("q_invperm has 95 numbers, expected 96"));
  for (const std::int32_t number : {-1, 96, good.packed_of_column[0]}) {
    bad = good;
    bad.packed_of_column[1] = number;
    EXPECT_THAT(error(bad), HasSubstr(fmt::format("q_invperm has {} for column 1", number)));
  }
  bad = good;
  bad.codes.n_cols = 40;
  EXPECT_THAT(error(bad), HasSubstr("q_weight has shape [9, 40], expected [9, 64]"));
  bad = good;
  bad.scales.n_cols = 5;
  EXPECT_THAT(error(bad), HasSubstr("q_scale has shape [2, 5], expected [2, 8]"));
  bad = good;
  bad.largest_scales.n_cols = 3;
  EXPECT_THAT(error(bad), HasSubstr("q_scale_max has shape [1, 3], expected [1, 2]"));
  bad = good;
  bad.groups.n_cols = 3;
  EXPECT_THAT(error(bad), HasSubstr("q_groups has 3 numbers"));
  const auto with_groups = [&](std::initializer_list<char> numbers) {
    bytes.q_groups.clear();
    for (const char number : numbers) bytes.q_groups += {number, 0};
    return error(good);
  };
  EXPECT_EQ(with_groups({5, 0, 2, 5}), "no error");
  EXPECT_THAT(with_groups({7, 0, 2, 5}), HasSubstr("gives group 0 7 bits"));
  EXPECT_THAT(with_groups({5, 1, 2, 5}), HasSubstr("group 0 rows 1 to 5"));
  EXPECT_THAT(with_groups({5, 0, 2, 4}), HasSubstr("group 0 rows 0 to 4"));
  EXPECT_THAT(with_groups({5, 0, 2, 9}), HasSubstr("rows 0 to 9"));
  EXPECT_THAT(with_groups({5, 0, 2, 100}), HasSubstr("rows 0 to 100 of 9"));
  EXPECT_THAT(with_groups({4, 0, 2, 5}), HasSubstr("covers 104 columns, expected 96"));
}

}  // namespace
}  // namespace cria

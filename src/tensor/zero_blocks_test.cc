#include "tensor/zero_blocks.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/aligned_buffer.h"
#include "tensor/packing.h"

namespace cria {
namespace {

struct Matrix {
  Encoding encoding;
  std::int64_t n_rows, n_cols;
  KeptBlocks blocks;
  std::vector<std::byte> full;     // packed
  std::vector<std::byte> dropped;  // without its zero blocks
};

// Blocks are kept by chance `share`; the others have zero scales.
Matrix random_matrix(Encoding encoding, std::int64_t n_rows, std::int64_t n_cols, int share) {
  std::mt19937 random(3);
  Matrix m = {encoding, n_rows, n_cols, {}, {}, {}};
  m.blocks.n_panels = (n_rows + kPanelRows - 1) / kPanelRows;
  m.blocks.n_groups = (n_cols + kColumnGroup - 1) / kColumnGroup;
  const std::size_t panel_bytes = panel_layout(encoding, n_cols).size_bytes;
  m.full.resize(static_cast<std::size_t>(m.blocks.n_panels) * panel_bytes);
  for (std::int64_t p = 0; p < m.blocks.n_panels; ++p) {
    std::vector<std::uint8_t> kept(static_cast<std::size_t>(m.blocks.n_groups));
    for (auto& k : kept) k = static_cast<int>(random() % 100) < share;
    m.blocks.kept.insert(m.blocks.kept.end(), kept.begin(), kept.end());
    std::vector<RowCodes> rows(std::min<std::int64_t>(kPanelRows, n_rows - p * kPanelRows),
                               RowCodes(encoding, n_cols));
    for (RowCodes& row : rows) {
      for (std::size_t k = 0; k < row.codes.size(); ++k) {
        const auto mask = (1u << encoding_spec(encoding).bits) - 1;
        row.codes[k] = static_cast<std::uint8_t>(random() & mask);
      }
      for (std::size_t g = 0; g < kept.size(); ++g) {
        if (!row.scales_f16.empty()) row.scales_f16[g] = kept[g] != 0 ? 0x3c00 + g : 0;
        if (!row.scales_8.empty()) row.scales_8[g] = kept[g] != 0 ? 120 : 0;
      }
    }
    pack_panel(rows,
               std::span(m.full).subspan(static_cast<std::size_t>(p) * panel_bytes, panel_bytes));
  }
  m.dropped = zero_blocks_index(encoding, m.blocks);
  for (std::int64_t p = 0; p < m.blocks.n_panels; ++p) {
    drop_zero_blocks(
        encoding, std::span(m.full).subspan(static_cast<std::size_t>(p) * panel_bytes, panel_bytes),
        m.blocks.of_panel(p), m.dropped);
  }
  return m;
}

TEST(ZeroBlocks, WhatIsFilledInDecodesToTheSameWeights) {
  for (Encoding encoding : {Encoding::kQ4, Encoding::kQ8, Encoding::kQ4Nl, Encoding::kQ3,
                            Encoding::kQ4S24, Encoding::kE8P3G32}) {
    for (int share : {0, 10, 50, 100}) {
      const Matrix m = random_matrix(encoding, 37, 300, share);
      EXPECT_EQ(m.dropped.size(), zero_blocks_bytes(encoding, m.blocks));
      const auto view = ZeroBlocksView::open(encoding, m.n_rows, m.n_cols, m.dropped);
      ASSERT_TRUE(view.ok()) << view.status().message();
      std::vector<std::byte> panel(panel_layout(encoding, m.n_cols).size_bytes);
      std::vector<float> expected(m.n_cols), found(m.n_cols);
      for (std::int64_t r = 0; r < m.n_rows; ++r) {
        view->fill_panel(r / kPanelRows, panel);
        decode_packed_row(encoding, panel, m.n_cols, r % kPanelRows, found);
        decode_packed_row(encoding, m.full, m.n_cols, r, expected);
        EXPECT_EQ(found, expected) << encoding_spec(encoding).name << " " << share << " row " << r;
      }
    }
  }
}

TEST(ZeroBlocks, WideMatricesShrinkByTheirZeros) {
  const Matrix m = random_matrix(Encoding::kQ4, 256, 4096, 10);
  double kept = 0;
  for (auto k : m.blocks.kept) kept += k;
  const double share = kept / static_cast<double>(m.blocks.kept.size());
  // Two bytes a block that is kept, a line of 64 a panel, 16 bytes of index.
  const double most =
      share * static_cast<double>(m.full.size()) + 2 * kept + 16 * (3 * 64 + 16) + 128;
  EXPECT_LE(static_cast<double>(m.dropped.size()), most);
}

TEST(ZeroBlocks, OnlyBlocksOf32WithScalesOfTheirOwn) {
  EXPECT_TRUE(can_drop_zero_blocks(Encoding::kMxfp4, 64));
  for (Encoding encoding : {Encoding::kF16, Encoding::kQ4Min, Encoding::kQ4KMin, Encoding::kQ4G64,
                            Encoding::kQ4C, Encoding::kQ6K}) {
    EXPECT_FALSE(can_drop_zero_blocks(encoding, 64)) << encoding_spec(encoding).name;
  }
  EXPECT_FALSE(can_drop_zero_blocks(Encoding::kQ4, std::int64_t{1} << 22));
}

TEST(ZeroBlocks, EveryBrokenIndexIsRefused) {
  const Matrix m = random_matrix(Encoding::kQ4, 20, 256, 50);
  const auto opens = [&](auto change) {
    std::vector<std::byte> bytes = m.dropped;
    change(bytes);
    return ZeroBlocksView::open(m.encoding, m.n_rows, m.n_cols, bytes).ok();
  };
  const auto put = [](std::size_t at, std::uint64_t value, std::size_t size) {
    return [=](std::vector<std::byte>& bytes) { std::memcpy(bytes.data() + at, &value, size); };
  };
  EXPECT_TRUE(opens([](auto&) {}));
  EXPECT_FALSE(opens([](auto& bytes) { bytes.resize(bytes.size() - 64); }));
  EXPECT_FALSE(opens([](auto& bytes) { bytes.resize(3); }));
  EXPECT_FALSE(opens(put(0, 1, 4)));                        // not the magic
  EXPECT_FALSE(opens(put(4, 3, 4)));                        // panels
  EXPECT_FALSE(opens(put(64, 100, 8)));                     // misaligned
  EXPECT_FALSE(opens(put(64, std::uint64_t{1} << 60, 8)));  // outside
  EXPECT_FALSE(opens(put(64 + 8, 9, 4)));                   // more groups than there are
  EXPECT_FALSE(opens(put(128, 8, 2)));                      // a group that is not there
  EXPECT_FALSE(opens(put(130, 0, 2)));                      // not rising
  EXPECT_FALSE(ZeroBlocksView::open(m.encoding, 40, 256, m.dropped).ok());
  EXPECT_FALSE(ZeroBlocksView::open(Encoding::kF32, 20, 256, m.dropped).ok());
}

}  // namespace
}  // namespace cria

#include "tensor/device_tiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace cria {
namespace {

std::vector<std::byte> random_bytes(std::size_t n) {
  std::mt19937 random(3);
  std::vector<std::byte> bytes(n);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// Where column `k`, the first of a group, begins in a panel: its element, or codes with the scales
// that precede them.
std::size_t start_of(const EncodingSpec& spec, const PanelLayout& layout, std::int64_t k,
                     std::int64_t n_cols) {
  if (k >= n_cols) return layout.size_bytes;
  if (spec.dense()) return static_cast<std::size_t>(k * kPanelRows * spec.bits / 8);
  return static_cast<std::size_t>(spec.group_offset(k / kColumnGroup, layout.scale_shift));
}

TEST(DeviceTiles, AStripIsItsPanelsTileByTile) {
  for (const EncodingSpec& spec : kEncodingTable) {
    for (std::int64_t n_cols : {32, 96, 320, 257}) {
      for (std::size_t n_panels : {1, 2, 3}) {
        const DeviceTiles tiles = {4, 64};
        const PanelLayout layout = panel_layout(spec.encoding, n_cols);
        const std::vector<std::byte> panels = random_bytes(n_panels * layout.size_bytes);
        std::vector<std::byte> strip(panels.size()), back(panels.size());
        to_device_strip(tiles, spec.encoding, n_cols, panels, strip);
        from_device_strip(tiles, spec.encoding, n_cols, strip, back);
        EXPECT_EQ(back, panels) << spec.name << " " << n_cols;
        if (n_panels == 1) {
          EXPECT_EQ(strip, panels) << spec.name << " " << n_cols;
        }
        // In each tile the same columns of each panel in turn.
        auto piece = strip.begin();
        for (std::int64_t k = 0; k < n_cols; k += 64) {
          const std::size_t start = start_of(spec, layout, k, n_cols);
          const auto bytes =
              static_cast<std::ptrdiff_t>(start_of(spec, layout, k + 64, n_cols) - start);
          for (std::size_t p = 0; p < n_panels; ++p, piece += bytes) {
            const auto from =
                panels.begin() + static_cast<std::ptrdiff_t>(p * layout.size_bytes + start);
            EXPECT_TRUE(std::equal(piece, piece + bytes, from))
                << spec.name << " " << n_cols << " column " << k << " panel " << p;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace cria

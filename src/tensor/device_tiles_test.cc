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

// What the first `n` columns of a panel take, with the scales before and among them.
std::size_t bytes_of_columns(const EncodingSpec& spec, const PanelLayout& layout, std::int64_t n,
                             std::int64_t n_cols) {
  if (n >= n_cols) return layout.size_bytes;
  if (spec.dense()) return static_cast<std::size_t>(n * kPanelRows * spec.bits / 8);
  const std::int64_t last = n / kColumnGroup - 1;
  return static_cast<std::size_t>(spec.codes_offset(last, layout.scale_shift) + spec.group_bytes());
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
        // The first tile: the same columns of each panel in turn.
        const std::size_t bytes = bytes_of_columns(spec, layout, 64, n_cols);
        for (std::size_t p = 0; p < n_panels; ++p) {
          const auto panel = panels.begin() + static_cast<std::ptrdiff_t>(p * layout.size_bytes);
          const auto piece = strip.begin() + static_cast<std::ptrdiff_t>(p * bytes);
          EXPECT_TRUE(std::equal(piece, piece + static_cast<std::ptrdiff_t>(bytes), panel))
              << spec.name << " " << n_cols << " panel " << p;
        }
      }
    }
  }
}

}  // namespace
}  // namespace cria

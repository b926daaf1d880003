// The order of a packed matrix on a device with a matrix engine of fixed tiles.
//
// A strip is `strip_panels` panels (tensor/encoding.h), as many rows as a tile is wide; the last
// one may have fewer. Its bytes are those of its panels, permuted: tile after tile along the
// columns
// (`tile_columns`, a multiple of 32), in each tile panel after panel, codes with the lines of
// scales before and among them. What one tile needs is then one piece of memory (but for scales of
// columns that an earlier tile began), and a range of strips is one transfer. Dense encodings: rows
// of `tile_columns` elements of each panel in turn. A strip of one panel is that panel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/encoding.h"

namespace cria {

struct DeviceTiles {
  std::uint32_t strip_panels = 1;
  std::uint32_t tile_columns = 32;
  bool operator==(const DeviceTiles&) const = default;
};

inline constexpr std::uint32_t kMaxStripPanels = 64;

// One strip of panels -> device order, and back. `panels` and `strip` do not overlap and have the
// size of `panels.size() / panel bytes` panels, at most tiles.strip_panels.
void to_device_strip(const DeviceTiles& tiles, Encoding encoding, std::int64_t n_cols,
                     std::span<const std::byte> panels, std::span<std::byte> strip);
void from_device_strip(const DeviceTiles& tiles, Encoding encoding, std::int64_t n_cols,
                       std::span<const std::byte> strip, std::span<std::byte> panels);

}  // namespace cria

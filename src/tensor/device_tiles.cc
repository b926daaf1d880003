#include "tensor/device_tiles.h"

#include <algorithm>
#include <cstring>

namespace cria {
namespace {

// Calls piece(offset in the strip, offset in the panels, bytes) for every piece of a strip of `n`
// panels.
template <typename Piece>
void for_each_piece(const DeviceTiles& tiles, Encoding encoding, std::int64_t n_cols, std::size_t n,
                    const Piece& piece) {
  const PanelLayout layout = panel_layout(encoding, n_cols);
  const EncodingSpec spec = encoding_spec(encoding);
  // Bytes of `tile_columns` columns of a panel: 16 rows of elements or of codes, and the scales
  // among these.
  const std::size_t tile_bytes =
      std::size_t{tiles.tile_columns} * static_cast<std::size_t>(spec.group_bytes()) / kColumnGroup;
  std::size_t at = 0;
  for (std::size_t first = layout.codes_offset; first < layout.groups_end; first += tile_bytes) {
    const std::size_t bytes = std::min(tile_bytes, layout.groups_end - first);
    for (std::size_t p = 0; p < n; ++p, at += bytes)
      piece(at, p * layout.size_bytes + first, bytes);
  }
  const std::size_t regions[] = {layout.groups_end, std::max(layout.mins_offset, layout.groups_end),
                                 layout.supers_offset, layout.size_bytes};
  for (int r = 0; r + 1 < 4; ++r) {
    const std::size_t bytes = regions[r + 1] - regions[r];
    for (std::size_t p = 0; p < n && bytes > 0; ++p, at += bytes)
      piece(at, p * layout.size_bytes + regions[r], bytes);
  }
}

std::size_t panels_in(Encoding encoding, std::int64_t n_cols, std::size_t size_bytes) {
  return size_bytes / panel_layout(encoding, n_cols).size_bytes;
}

}  // namespace

void to_device_strip(const DeviceTiles& tiles, Encoding encoding, std::int64_t n_cols,
                     std::span<const std::byte> panels, std::span<std::byte> strip) {
  for_each_piece(tiles, encoding, n_cols, panels_in(encoding, n_cols, panels.size()),
                 [&](std::size_t device, std::size_t panel, std::size_t bytes) {
                   std::memcpy(strip.data() + device, panels.data() + panel, bytes);
                 });
}

void from_device_strip(const DeviceTiles& tiles, Encoding encoding, std::int64_t n_cols,
                       std::span<const std::byte> strip, std::span<std::byte> panels) {
  for_each_piece(tiles, encoding, n_cols, panels_in(encoding, n_cols, strip.size()),
                 [&](std::size_t device, std::size_t panel, std::size_t bytes) {
                   std::memcpy(panels.data() + panel, strip.data() + device, bytes);
                 });
}

}  // namespace cria

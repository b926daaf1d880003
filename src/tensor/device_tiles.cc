#include "tensor/device_tiles.h"

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
  // Where column k of a panel starts, a multiple of whole groups: rows of elements, or codes and
  // the lines of scales before them.
  const auto start_of = [&](std::int64_t k) {
    if (k >= n_cols) return layout.size_bytes;
    return static_cast<std::size_t>(spec.dense()
                                        ? k * kPanelRows * spec.bits / 8
                                        : spec.group_offset(k / kColumnGroup, layout.scale_shift));
  };
  std::size_t at = 0;
  for (std::int64_t k = 0; k < n_cols; k += tiles.tile_columns) {
    const std::size_t first = start_of(k), bytes = start_of(k + tiles.tile_columns) - first;
    for (std::size_t p = 0; p < n; ++p, at += bytes)
      piece(at, p * layout.size_bytes + first, bytes);
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

// Panels of a matrix in the order in which they are made -> bytes in the order of a device.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "tensor/device_tiles.h"

namespace cria {

// Not thread-safe. A device of strips of one panel costs nothing: panels pass through.
class StripWriter {
 public:
  using Sink = std::function<Status(std::span<const std::byte>)>;

  StripWriter(const DeviceTiles& tiles, Encoding encoding, std::int64_t n_cols, Sink sink)
      : tiles_(tiles),
        encoding_(encoding),
        n_cols_(n_cols),
        strip_bytes_(tiles.strip_panels * panel_layout(encoding, n_cols).size_bytes),
        sink_(std::move(sink)) {}

  // Whole panels, any number of them.
  Status add(std::span<const std::byte> panels) {
    if (tiles_.strip_panels == 1) return sink_(panels);
    pending_.insert(pending_.end(), panels.begin(), panels.end());
    std::size_t done = 0;
    ordered_.resize(pending_.size());
    for (; pending_.size() - done >= strip_bytes_; done += strip_bytes_)
      reorder(done, strip_bytes_);
    if (done == 0) return {};
    CRIA_RETURN_IF_ERROR(sink_(std::span(ordered_).first(done)));
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(done));
    return {};
  }

  // The last strip may have fewer panels.
  Status finish() {
    if (pending_.empty()) return {};
    ordered_.resize(pending_.size());
    reorder(0, pending_.size());
    pending_.clear();
    return sink_(ordered_);
  }

 private:
  void reorder(std::size_t at, std::size_t bytes) {
    to_device_strip(tiles_, encoding_, n_cols_, std::span(pending_).subspan(at, bytes),
                    std::span(ordered_).subspan(at, bytes));
  }

  DeviceTiles tiles_;
  Encoding encoding_;
  std::int64_t n_cols_;
  std::size_t strip_bytes_;
  Sink sink_;
  std::vector<std::byte> pending_, ordered_;
};

}  // namespace cria

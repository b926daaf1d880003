// Whether the blocks of an encoding suit a device that multiplies fixed groups of columns.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "tensor/encoding.h"

namespace cria {

// What a device says of its groups. `group_sizes`: columns that may share a scale, as a profile's
// limits list them; 0 stands for a whole row. `tile_columns`: columns that its engine takes at
// once.
struct DeviceGroups {
  std::span<const int> group_sizes;
  int tile_columns = 32;
};

struct GroupFit {
  bool fits = false;
  std::string reason;  // empty if it fits
  // The same codes in the widest narrower blocks that fit, else in the narrowest wider ones.
  std::optional<Encoding> instead;
};

// An encoding fits if the device has its group size, and no group ends inside a tile or a tile
// inside a group: else lanes wait for another scale. Dense encodings fit. Pure. REQUIRES:
// tile_columns > 0.
GroupFit fits_group(const DeviceGroups& device, Encoding encoding);

}  // namespace cria

#include "quantize/fits_group.h"

#include <fmt/format.h>

#include <algorithm>

namespace cria {
namespace {

bool has_group(const DeviceGroups& device, int block) {
  return std::ranges::find(device.group_sizes, block == kPerChannel ? 0 : block) !=
         device.group_sizes.end();
}

bool wastes_lanes(const DeviceGroups& device, int block) {
  return block != kPerChannel && block % device.tile_columns != 0;
}

std::string columns_text(int block) {
  return block == kPerChannel ? "a row" : fmt::format("{} columns", block);
}

}  // namespace

GroupFit fits_group(const DeviceGroups& device, Encoding encoding) {
  const EncodingSpec spec = encoding_spec(encoding);
  if (spec.dense()) return {true, "", encoding};
  const auto fits = [&](int block) {
    return has_group(device, block) && !wastes_lanes(device, block);
  };
  if (fits(spec.block)) return {true, "", encoding};
  GroupFit fit;
  for (int block : {kPerChannel, 128, 64, 32, 16}) {
    const std::optional<Encoding> other = encoding_with_block(encoding, block);
    // Blocks narrower than asked for lose least, so the widest of them; else the narrowest wider.
    if (other && fits(block) &&
        (!fit.instead || block >= spec.block || encoding_spec(*fit.instead).block > spec.block)) {
      fit.instead = other;
    }
  }
  fit.reason = has_group(device, spec.block)
                   ? fmt::format("{}: groups of {}, but tiles of {} columns", spec.name,
                                 columns_text(spec.block), device.tile_columns)
                   : fmt::format("{}: groups of {}, which the device does not have", spec.name,
                                 columns_text(spec.block));
  if (fit.instead) fit.reason += fmt::format("; {} fits", encoding_spec(*fit.instead).name);
  return fit;
}

}  // namespace cria

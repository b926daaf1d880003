// attention with AVX-512 VNNI: keys or values of a tile, which are taken as they lie in the cache.
// Internal linkage throughout, as in panel/generic.h.
#pragma once

#include "kernels/attention/avx512_steps.h"

namespace cria {
namespace attention_steps {
namespace {

template <typename Scales, const std::byte* AttentionArgs::*kCache>
struct VnniTile {
  Scales scales;
  const std::byte* panels;  // the first
  std::int64_t panel_bytes;

  // That of positions [p0, p0 + n).
  void load(const AttentionArgs& args, std::int64_t p0, int n) {
    load_scales(args, p0, n, scales);
    panel_bytes = kv_panel_bytes(args.head_dim);
    panels = args.*kCache + p0 / kKvPanel * panel_bytes;
  }
};

using VnniKeys = VnniTile<KeyScales, &AttentionArgs::k>;
using VnniValues = VnniTile<TileValueScales, &AttentionArgs::v>;

}  // namespace
}  // namespace attention_steps
}  // namespace cria

// The specification of store_q8: one head's codes of one position into its panel.
#pragma once

#include <cstring>

#include "kernels/kernels.h"
#include "tensor/float16.h"

namespace cria::spec {
namespace {

inline void store_q8(const StoreQ8Args& args) {
  auto* codes = reinterpret_cast<std::uint8_t*>(args.panel);
  const std::int64_t lane = args.position % kKvPanel;
  for (std::int64_t d = 0; d < args.head_dim; ++d) {
    const auto code = static_cast<std::uint8_t>(args.codes[d]);
    if (args.is_value) {
      codes[(lane / 4 * args.head_dim + d) * 4 + lane % 4] = code;
    } else {  // as Encoding::kQ8: unsigned, a plane a quad
      codes[d / 4 * 64 + 4 * lane + d % 4] = code ^ 0x80;
    }
  }
  std::byte* scales = args.panel + kv_panel_scales(args.head_dim);
  for (std::int64_t b = 0; b < args.head_dim / kColumnGroup; ++b) {
    const std::uint16_t half = f32_to_f16(args.blocks[b].scale);
    std::memcpy(scales + 2 * (b * kKvPanel + lane), &half, sizeof(half));
  }
}

}  // namespace
}  // namespace cria::spec

// How one KV head's keys or values lie in a cache: the contract of whoever appends and whoever
// attends.
//
//   kF16  half floats [positions, head_dim]
//   kQ8   panels of 16 positions, int8 codes in blocks of 32 columns with one half float each
//         (8.5 bits a value). REQUIRES head_dim % 32 == 0 and a multiple of 16 positions.
//           keys    a panel of Encoding::kQ8 (tensor/encoding.h) whose rows are the positions: a
//                   score is then a linear, 16 positions to a register and no sum across lanes
//           values  codes [4 quads of positions][head_dim][4], as two's complement, then scales
//                   [head_dim / 32][16 positions]: a sum over positions, four to a 32-bit lane
//
// Both panels have the same size, so K and V of one type need the same memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/encoding.h"

namespace cria {

enum class KvType : std::uint8_t { kF16 = 0, kQ8 = 1 };
inline constexpr int kKvTypeCount = 2;
inline constexpr std::int64_t kKvPanel = 16;  // positions a panel of kQ8

// The names that -ctk and -ctv take.
constexpr const char* kv_type_name(KvType type) { return type == KvType::kF16 ? "f16" : "q8_0"; }
constexpr std::optional<KvType> kv_type_from_name(std::string_view name) {
  for (const KvType type : {KvType::kF16, KvType::kQ8}) {
    if (name == kv_type_name(type)) return type;
  }
  return std::nullopt;
}

// Positions that a cache holds a multiple of.
constexpr std::int64_t kv_granularity(KvType type) { return type == KvType::kF16 ? 1 : kKvPanel; }

constexpr bool kv_type_fits(KvType type, std::int64_t head_dim) {
  return type == KvType::kF16 || head_dim % kColumnGroup == 0;
}

// Bytes of a panel of kQ8, and where it has the codes of 32 columns, if of keys, and their 16
// scales.
inline std::int64_t kv_panel_bytes(std::int64_t head_dim) {
  return static_cast<std::int64_t>(panel_layout(Encoding::kQ8, head_dim).size_bytes);
}
constexpr std::int64_t key_codes_offset(std::int64_t group) {
  return encoding_spec(Encoding::kQ8).codes_offset(group, 0);
}
constexpr std::int64_t key_scales_offset(std::int64_t group) {
  return encoding_spec(Encoding::kQ8).scales_offset(group, 0);
}
constexpr std::int64_t value_scales_offset(std::int64_t head_dim, std::int64_t group) {
  return kKvPanel * head_dim + group * 2 * kKvPanel;
}

// Bytes of one position of one head's K (or V).
inline std::int64_t kv_row_bytes(KvType type, std::int64_t head_dim) {
  return type == KvType::kF16 ? 2 * head_dim : kv_panel_bytes(head_dim) / kKvPanel;
}

}  // namespace cria

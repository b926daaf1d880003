// What the tests and benchmarks of kernels share: random inputs, packed random weights, comparison.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/kernels.h"
#include "kernels/store_q8/generic.h"
#include "tensor/float16.h"
#include "tensor/packing.h"

namespace cria::test_data {

inline std::vector<float> random_floats(std::int64_t n, std::mt19937& random, float sigma = 1.0f) {
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = normal(random);
  return values;
}

// A half float of magnitude 2^-8 .. 2^-4 and any sign.
inline std::uint16_t random_half(std::mt19937& random) {
  const std::uint32_t bits = random();
  return static_cast<std::uint16_t>((bits & 0x8000) | ((7 + bits % 4) << 10) |
                                    ((bits >> 16) & 0x3ff));
}

// Any codes and any small scales; half floats of the magnitude that weights have.
inline RowCodes random_row(Encoding encoding, std::int64_t n_cols, std::mt19937& random) {
  RowCodes row(encoding, n_cols);
  const std::uint32_t mask = (1u << encoding_spec(encoding).bits) - 1;
  for (auto& code : row.codes) code = static_cast<std::uint8_t>(random() & mask);
  for (auto& half : row.scales_f16) half = random_half(random);
  for (auto& half : row.mins_f16) half = random_half(random);
  for (auto& half : row.super_scales) half = random_half(random);
  for (auto& half : row.super_mins) half = random_half(random);
  const bool e8m0 = encoding_spec(encoding).scale == ScaleKind::kE8M0;
  for (auto& byte : row.scales_8) {
    byte = static_cast<std::uint8_t>(e8m0 ? 118 + random() % 8 : random());
  }
  for (auto& byte : row.mins_8) byte = static_cast<std::uint8_t>(random());
  return row;
}

// A packed matrix of random weights.
struct Weights {
  Encoding encoding;
  std::int64_t n_rows;
  std::int64_t n_cols;
  std::size_t panel_bytes;
  AlignedBuffer packed;

  const std::byte* panel(std::int64_t index) const {
    return packed.data() + static_cast<std::size_t>(index) * panel_bytes;
  }
};

inline Weights random_weights(Encoding encoding, std::int64_t n_rows, std::int64_t n_cols,
                              std::mt19937& random) {
  const std::size_t panel_bytes = panel_layout(encoding, n_cols).size_bytes;
  Weights weights = {encoding, n_rows, n_cols, panel_bytes, {}};
  weights.packed = AlignedBuffer::allocate(*packed_size_bytes(encoding, n_rows, n_cols)).value();
  for (std::int64_t first = 0; first < n_rows; first += kPanelRows) {
    const std::int64_t n = std::min<std::int64_t>(kPanelRows, n_rows - first);
    const auto panel = weights.packed.bytes().subspan(
        static_cast<std::size_t>(first / kPanelRows) * panel_bytes, panel_bytes);
    if (encoding_spec(encoding).dense()) {
      pack_dense_panel(encoding, random_floats(n * n_cols, random, 0.05f), n_cols, panel);
      continue;
    }
    std::vector<RowCodes> rows;
    for (std::int64_t r = 0; r < n; ++r) rows.push_back(random_row(encoding, n_cols, random));
    pack_panel(rows, panel);
  }
  return weights;
}

// Float activations and the same as int8.
struct Activations {
  std::int64_t n_tokens;
  std::int64_t n_cols;
  std::vector<float> x;
  std::vector<std::int8_t> codes;
  std::vector<A8Block> blocks;
};

inline Activations activations_of(std::vector<float> x, std::int64_t n_tokens,
                                  std::int64_t n_cols) {
  Activations a = {n_tokens, n_cols, std::move(x), {}, {}};
  const auto n_blocks = static_cast<std::size_t>(n_tokens * a8_blocks(n_cols));
  a.codes.resize(n_blocks * kColumnGroup);
  a.blocks.resize(n_blocks);
  kernels_for(Isa::kGeneric)
      .quantize_a8(
          {a.x.data(), n_cols, n_tokens, 0, n_tokens, n_cols, a.codes.data(), a.blocks.data()});
  return a;
}

inline Activations random_activations(std::int64_t n_tokens, std::int64_t n_cols,
                                      std::mt19937& random) {
  return activations_of(random_floats(n_tokens * n_cols, random), n_tokens, n_cols);
}

inline LinearA8Args a8_args(const Weights& w, const Activations& a, float* out) {
  return {w.encoding,      w.packed.data(), w.n_rows, w.n_cols, a.codes.data(),
          a.blocks.data(), a.n_tokens,      out,      w.n_rows, false};
}

inline LinearA16Args a16_args(const Weights& w, const Activations& a, float* out) {
  return {w.encoding, w.packed.data(), w.n_rows, w.n_cols, a.x.data(),
          a.n_cols,   a.n_tokens,      out,      w.n_rows, false};
}

// One head's K or V of a cache.
struct KvHead {
  KvType type;
  std::vector<std::byte> bytes;
  std::vector<float> values;  // [positions, head_dim], what the bytes stand for
};

// What 32 columns of a position of a cache in int8 have as their scale.
enum class CacheScales {
  kOfHead,   // as store_q8 writes them
  kOfBlock,  // each its own, which the format has room for
  kMixed,    // of the head up to position 128, then each its own
};

// One position by the blocks of quantize_a8.
inline void store_blocks(const StoreQ8Args& args) {
  std::int8_t codes[kMaxHeadDim];
  A8Block blocks[kMaxHeadDim / kColumnGroup];
  kernels_for(Isa::kGeneric)
      .quantize_a8({args.x, args.head_dim, 1, 0, 1, args.head_dim, codes, blocks});
  std::uint16_t scales[kMaxHeadDim / kColumnGroup];
  for (int b = 0; b < args.head_dim / kColumnGroup; ++b) scales[b] = f32_to_f16(blocks[b].scale);
  spec::store_codes(codes, scales, args);
}

// What a panel holds at column d of its position `lane`.
inline float panel_value(const std::byte* panel, std::int64_t head_dim, std::int64_t lane,
                         std::int64_t d, bool is_value) {
  std::uint16_t half = 0;
  const std::int64_t block = d / kColumnGroup;
  const std::int64_t scales =
      is_value ? value_scales_offset(head_dim, block) : key_scales_offset(block);
  std::memcpy(&half, panel + scales + 2 * lane, 2);
  const std::int64_t at =
      is_value ? (lane / 4 * head_dim + d) * 4 + lane % 4
               : key_codes_offset(block) + d % kColumnGroup / 4 * 64 + 4 * lane + d % 4;
  const int byte = static_cast<int>(panel[at]);
  const int code = is_value ? static_cast<std::int8_t>(byte) : byte - 128;
  return f16_to_f32(half) * static_cast<float>(code);
}

// Positions behind the last one, if the type has them, are filled with `rest` (0x7f7f as a scale is
// not a number).
inline KvHead kv_head(KvType type, const std::vector<float>& x, std::int64_t head_dim,
                      bool is_value, std::byte rest = std::byte{0x7f},
                      CacheScales scales = CacheScales::kOfHead) {
  const auto n = static_cast<std::int64_t>(x.size()) / head_dim;
  const std::int64_t granularity = kv_granularity(type);
  const std::int64_t n_held = (n + granularity - 1) / granularity * granularity;
  KvHead head = {type, {}, x};
  head.bytes.resize(static_cast<std::size_t>(n_held * kv_row_bytes(type, head_dim)), rest);
  const Kernels& kernels = kernels_for(Isa::kGeneric);
  if (type == KvType::kF16) {
    auto* halves = reinterpret_cast<std::uint16_t*>(head.bytes.data());
    kernels.store_f16({x.data(), halves, n * head_dim});
    for (std::size_t i = 0; i < x.size(); ++i) head.values[i] = f16_to_f32(halves[i]);
    return head;
  }
  for (std::int64_t p = 0; p < n; ++p) {
    std::byte* panel = head.bytes.data() + p / kKvPanel * kv_panel_bytes(head_dim);
    const StoreQ8Args args = {x.data() + p * head_dim, head_dim, p, panel, is_value};
    const bool of_head =
        scales == CacheScales::kOfHead || (scales == CacheScales::kMixed && p < 128);
    of_head ? kernels.store_q8(args) : store_blocks(args);
    for (std::int64_t d = 0; d < head_dim; ++d) {
      head.values[p * head_dim + d] = panel_value(panel, head_dim, p % kKvPanel, d, is_value);
    }
  }
  return head;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

}  // namespace cria::test_data

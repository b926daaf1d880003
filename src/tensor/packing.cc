#include "tensor/packing.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

#include "tensor/code_words.h"
#include "tensor/e8p.h"
#include "tensor/float16.h"
#include "tensor/pairs.h"

namespace cria {
namespace {

constexpr int kLanes = 64;  // bytes of a plane: 16 rows x 4 columns
constexpr int kQuads = kColumnGroup / 4;

// The planes of a code: `bits` of the code from `shift` on, 8 / bits quads to a plane.
struct PlanePart {
  int bits;
  int shift;
};

struct PlaneParts {
  PlanePart part[2];
  int n_parts;
};

PlaneParts plane_parts(int bits) {
  switch (bits) {
    case 3:
      return {{{2, 0}, {1, 2}}, 2};
    case 5:
      return {{{4, 0}, {1, 4}}, 2};
    case 6:
      return {{{4, 0}, {2, 4}}, 2};
    default:
      return {{{bits, 0}, {0, 0}}, 1};
  }
}

// The codes of 32 columns, quad by quad in lane order.
using GroupLanes = std::uint8_t[kQuads][kLanes];

void gather_group(std::span<const RowCodes> rows, std::int64_t k0, GroupLanes& lanes) {
  std::memset(lanes, 0, sizeof(lanes));
  const auto n_codes = static_cast<std::int64_t>(rows[0].codes.size());
  const std::int64_t n = std::min<std::int64_t>(kColumnGroup, n_codes - k0);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::uint8_t codes[kColumnGroup] = {};
    std::memcpy(codes, rows[r].codes.data() + k0, static_cast<std::size_t>(n));
    for (int q = 0; q < kQuads; ++q) std::memcpy(&lanes[q][4 * r], codes + 4 * q, 4);
  }
}

void write_planes(const GroupLanes& lanes, int bits, std::uint8_t* out) {
  const PlaneParts parts = plane_parts(bits);
  for (int i = 0; i < parts.n_parts; ++i) {
    const auto [part_bits, shift] = parts.part[i];
    const int quads_per_plane = 8 / part_bits;
    const int mask = (1 << part_bits) - 1;
    for (int first = 0; first < kQuads; first += quads_per_plane, out += kLanes) {
      for (int q = 0; q < quads_per_plane; ++q) {
        const std::uint8_t* quad = lanes[first + q];
        const int up = part_bits * q;
        for (int l = 0; l < kLanes; ++l) {
          const int field = ((quad[l] >> shift) & mask) << up;
          out[l] = static_cast<std::uint8_t>(q == 0 ? field : out[l] | field);
        }
      }
    }
  }
}

// --- codes for several columns: one word, in planes of bytes ---

// Where byte i of the word of octet `o` is.
std::size_t octet_at(int i, std::int64_t row, int o) {
  return static_cast<std::size_t>(i * kLanes + 4 * row + o);
}

void write_octets(const GroupLanes& lanes, int bits, std::uint8_t* out) {
  for (int row = 0; row < kPanelRows; ++row) {
    for (int o = 0; o < kQuads / 2; ++o) {
      std::uint8_t codes[8];
      std::memcpy(codes, &lanes[2 * o][4 * row], 4);
      std::memcpy(codes + 4, &lanes[2 * o + 1][4 * row], 4);
      const std::uint32_t word = join_codes(codes, 8, bits);
      // The number of the vector before its signs (tensor/e8p.h), in either stage.
      const std::uint32_t bytes[4] = {word >> 8, word, bits == 3 ? word >> 16 : word >> 24,
                                      word >> 16};
      for (int i = 0; i < bits; ++i) out[octet_at(i, row, o)] = static_cast<std::uint8_t>(bytes[i]);
    }
  }
}

std::uint32_t read_octet(const std::uint8_t* group, int bits, std::int64_t row, int o) {
  std::uint32_t bytes[4] = {};
  for (int i = 0; i < bits; ++i) bytes[i] = group[octet_at(i, row, o)];
  const std::uint32_t first = bytes[0] << 8 | bytes[1];
  return first | (bits == 3 ? bytes[2] : bytes[2] << 8 | bytes[3]) << 16;
}

void write_pairs(const GroupLanes& lanes, int bits, std::uint8_t* out) {
  std::memset(out, 0, static_cast<std::size_t>(bits * kLanes));
  const int code_bits = pair_code_bits(bits);
  for (int q = 0; q < kQuads; ++q) {
    for (int row = 0; row < kPanelRows; ++row) {
      const std::uint32_t word = join_codes(&lanes[q][4 * row], kPairColumns, bits);
      std::uint8_t* at = out + q / 4 * kLanes + 4 * row + q % 4;
      at[0] = static_cast<std::uint8_t>(word);
      if (code_bits == 8) at[2 * kLanes] = static_cast<std::uint8_t>(word >> 8);
      std::uint8_t& places = out[(bits - 1) * kLanes + 4 * row + q % 4];
      places = static_cast<std::uint8_t>(places | (word >> 2 * code_bits & 15) << (q / 4 * 4));
    }
  }
}

std::uint32_t read_pair(const std::uint8_t* group, int bits, std::int64_t row, int q) {
  const int code_bits = pair_code_bits(bits);
  const std::uint8_t* at = group + q / 4 * kLanes + 4 * row + q % 4;
  std::uint32_t word = at[0];
  if (code_bits == 8) word |= std::uint32_t{at[2 * kLanes]} << 8;
  const std::uint32_t places = group[(bits - 1) * kLanes + 4 * row + q % 4];
  return word | (places >> (q / 4 * 4) & 15) << (2 * code_bits);
}

// The codes of the column group of column k.
const std::uint8_t* codes_at(const std::byte* panel, const EncodingSpec& spec,
                             const PanelLayout& layout, std::int64_t k) {
  return reinterpret_cast<const std::uint8_t*>(
      panel + spec.codes_offset(k / kColumnGroup, layout.scale_shift));
}

void read_words(const std::byte* panel, const EncodingSpec& spec, const PanelLayout& layout,
                std::int64_t row, RowCodes& out) {
  const int width = spec.code_columns();
  for (std::size_t k = 0; k < out.codes.size(); k += static_cast<std::size_t>(width)) {
    const std::uint8_t* group = codes_at(panel, spec, layout, static_cast<std::int64_t>(k));
    const int at = static_cast<int>(k % kColumnGroup) / width;
    const std::uint32_t word = spec.codebook == Codebook::kE8P
                                   ? read_octet(group, spec.bits, row, at)
                                   : read_pair(group, spec.bits, row, at);
    split_word(word, width, spec.bits, out.codes.data() + k);
  }
}

void write_group(const GroupLanes& lanes, const EncodingSpec& spec, std::uint8_t* out) {
  switch (spec.codebook) {
    case Codebook::kE8P:
      return write_octets(lanes, spec.bits, out);
    case Codebook::kPairs:
      return write_pairs(lanes, spec.bits, out);
    default:
      return write_planes(lanes, spec.bits, out);
  }
}

// Where element b of each row is: of scales, mins, super scales and super mins.
struct PartsAt {
  EncodingSpec spec;
  int scale_shift;

  std::int64_t scale(std::size_t b) const {
    const auto block = static_cast<std::int64_t>(b);
    const std::int64_t g = spec.block < kColumnGroup ? block / spec.unit_blocks()
                                                     : block * (spec.block / kColumnGroup);
    return spec.scales_offset(g, scale_shift) + block % spec.unit_blocks() * spec.scale_bytes();
  }
  std::int64_t min(std::size_t b) const {
    return scale(b) + spec.unit_blocks() * spec.scale_bytes();
  }
  std::int64_t super_scale(std::size_t s) const {
    return spec.supers_offset(static_cast<std::int64_t>(s) * kGroupsPerSuper);
  }
  std::int64_t super_min(std::size_t s) const { return super_scale(s) + 2 * kPanelRows; }
};

// Calls part(member of RowCodes, where element b of it is) for all but the codes.
template <typename Part>
void for_each_part(const EncodingSpec& spec, const PanelLayout& layout, const Part& part) {
  const PartsAt at = {spec, layout.scale_shift};
  const auto scale = [at](std::size_t b) { return at.scale(b); };
  const auto min = [at](std::size_t b) { return at.min(b); };
  part(&RowCodes::scales_f16, scale);
  part(&RowCodes::scales_8, scale);
  part(&RowCodes::mins_f16, min);
  part(&RowCodes::mins_8, min);
  part(&RowCodes::super_scales, [at](std::size_t s) { return at.super_scale(s); });
  part(&RowCodes::super_mins, [at](std::size_t s) { return at.super_min(s); });
}

// Transposes one part: element b of each row goes to at(b)[row].
template <typename T, typename At>
void write_per_row(std::span<const RowCodes> rows, const std::vector<T> RowCodes::*member, At at,
                   std::byte* out) {
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::vector<T>& from = rows[r].*member;
    for (std::size_t b = 0; b < from.size(); ++b) {
      std::memcpy(out + at(b) + r * sizeof(T), &from[b], sizeof(T));
    }
  }
}

template <typename T, typename At>
void read_per_row(const std::byte* panel, At at, std::int64_t row, std::vector<T>& out) {
  for (std::size_t b = 0; b < out.size(); ++b) {
    std::memcpy(&out[b], panel + at(b) + row * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  }
}

void read_codes(const std::byte* panel, const EncodingSpec& spec, const PanelLayout& layout,
                std::int64_t row, RowCodes& out) {
  if (spec.code_columns() > 1) return read_words(panel, spec, layout, row, out);
  const int bits = spec.bits;
  const PlaneParts parts = plane_parts(bits);
  const std::uint8_t* group = nullptr;
  for (std::int64_t k = 0; k < out.n_cols; ++k) {
    if (k % kColumnGroup == 0) group = codes_at(panel, spec, layout, k);
    const std::uint8_t* plane = group;
    const int quad = static_cast<int>(k % kColumnGroup / 4);
    const auto lane = 4 * row + k % 4;
    int code = 0;
    for (int i = 0; i < parts.n_parts; ++i) {
      const auto [part_bits, shift] = parts.part[i];
      const int quads_per_plane = 8 / part_bits;
      const int field =
          plane[quad / quads_per_plane * kLanes + lane] >> (quad % quads_per_plane * part_bits);
      code |= (field & ((1 << part_bits) - 1)) << shift;
      plane += kQuads / quads_per_plane * kLanes;
    }
    out.codes[k] = static_cast<std::uint8_t>(code);
  }
}

void decode_dense_row(Encoding encoding, const std::byte* panel, std::int64_t row,
                      std::span<float> out) {
  for (std::size_t k = 0; k < out.size(); ++k) {
    const std::size_t element = k * kPanelRows + row;
    if (encoding == Encoding::kF32) {
      std::memcpy(&out[k], panel + element * 4, 4);
      continue;
    }
    std::uint16_t bits;
    std::memcpy(&bits, panel + element * 2, 2);
    out[k] = encoding == Encoding::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  }
}

}  // namespace

void pack_panel(std::span<const RowCodes> rows, std::span<std::byte> panel) {
  assert(!rows.empty() && rows.size() <= kPanelRows);
  const EncodingSpec spec = encoding_spec(rows[0].encoding);
  const std::int64_t n_cols = rows[0].n_cols;
  const PanelLayout layout = panel_layout(spec.encoding, n_cols);
  assert(panel.size() == layout.size_bytes);
  std::memset(panel.data(), 0, layout.size_bytes);

  GroupLanes lanes;
  for (std::int64_t k = 0; k < n_cols; k += kColumnGroup) {
    gather_group(rows, k, lanes);
    std::byte* codes = panel.data() + spec.codes_offset(k / kColumnGroup, layout.scale_shift);
    write_group(lanes, spec, reinterpret_cast<std::uint8_t*>(codes));
  }
  for_each_part(spec, layout,
                [&](auto member, auto at) { write_per_row(rows, member, at, panel.data()); });
}

void pack_dense_panel(Encoding encoding, std::span<const float> rows, std::int64_t n_cols,
                      std::span<std::byte> panel) {
  assert(encoding_spec(encoding).dense());
  assert(panel.size() == panel_layout(encoding, n_cols).size_bytes);
  const auto width = static_cast<std::size_t>(n_cols);
  const std::size_t n_rows = rows.size() / width;
  assert(n_rows >= 1 && n_rows <= kPanelRows && rows.size() == n_rows * width);
  std::memset(panel.data(), 0, panel.size());
  for (std::size_t r = 0; r < n_rows; ++r) {
    for (std::size_t k = 0; k < width; ++k) {
      const float value = rows[r * width + k];
      const std::size_t element = k * kPanelRows + r;
      if (encoding == Encoding::kF32) {
        std::memcpy(panel.data() + element * 4, &value, 4);
        continue;
      }
      const std::uint16_t bits =
          encoding == Encoding::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
      std::memcpy(panel.data() + element * 2, &bits, 2);
    }
  }
}

void unpack_word_values(Encoding encoding, const std::uint8_t* group, int row,
                        std::int8_t* values) {
  const EncodingSpec spec = encoding_spec(encoding);
  const int width = spec.code_columns();
  for (int k = 0; k < kColumnGroup; k += width) {
    if (spec.codebook == Codebook::kE8P) {
      e8p_decode_word(spec.bits, read_octet(group, spec.bits, row, k / width), values + k);
    } else {
      pair_decode(pair_code_bits(spec.bits), read_pair(group, spec.bits, row, k / width),
                  values + k);
    }
  }
}

RowCodes unpack_row(Encoding encoding, std::span<const std::byte> packed, std::int64_t n_cols,
                    std::int64_t row) {
  const EncodingSpec spec = encoding_spec(encoding);
  const PanelLayout layout = panel_layout(encoding, n_cols);
  const auto first = static_cast<std::size_t>(row / kPanelRows) * layout.size_bytes;
  assert(row >= 0 && first + layout.size_bytes <= packed.size());
  const std::byte* panel = packed.data() + first;
  const std::int64_t lane_row = row % kPanelRows;

  RowCodes out(encoding, n_cols);
  read_codes(panel, spec, layout, lane_row, out);
  for_each_part(spec, layout,
                [&](auto member, auto at) { read_per_row(panel, at, lane_row, out.*member); });
  return out;
}

void decode_packed_row(Encoding encoding, std::span<const std::byte> packed, std::int64_t n_cols,
                       std::int64_t row, std::span<float> out) {
  assert(out.size() == static_cast<std::size_t>(n_cols));
  if (!encoding_spec(encoding).dense()) {
    decode_codes(unpack_row(encoding, packed, n_cols, row), out);
    return;
  }
  const std::size_t panel_bytes = panel_layout(encoding, n_cols).size_bytes;
  const auto first = static_cast<std::size_t>(row / kPanelRows) * panel_bytes;
  assert(row >= 0 && first + panel_bytes <= packed.size());
  decode_dense_row(encoding, packed.data() + first, row % kPanelRows, out);
}

}  // namespace cria

// linear_a16 with NEON: decoded weights times one element of the activations, 4 rows to a register.
// The columns j of a quad are the four partial sums of the specification.
//
// A chunk of columns is unpacked to signed bytes and float scales first: everything after that is
// the same for all encodings. For one token the bytes become weights in registers, for more the
// weights are written once as floats.
#include "kernels/isa.h"
#include "kernels/panel/neon.h"

namespace cria {
namespace neon {
namespace {

constexpr int kParts = 4;
// Columns unpacked at a time: 128 x 16 are 2 KiB as bytes and 8 KiB as floats.
constexpr int kChunkColumns = 128;
constexpr int kChunkGroups = kChunkColumns / kColumnGroup;
constexpr int kTokenBlock = 32;
constexpr int kTileTokens = 4;

// Partial sums of one token: [part][row].
using TokenParts = float[kParts][kPanelRows];

// One group of one panel: w = fma(scale, value, min). Without mins these are zeros, not absent: a
// product of -0 has to become 0 as it does in the specification.
template <int kBlocks>
struct UnpackedGroup {
  std::int8_t values[kQuads][kQuarters][16];
  float32x4_t scale[kBlocks][kQuarters];
  float32x4_t min[kBlocks][kQuarters];
};

template <Encoding encoding>
inline constexpr int kBlocksOf = kColumnGroup / encoding_spec(encoding).block;

template <Encoding encoding>
void unpack_group(const spec::Group& group, UnpackedGroup<kBlocksOf<encoding>>& out) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  constexpr int kBlocks = kBlocksOf<encoding>;
  const int8x16_t table = load_table<encoding>();
  ExpandedGroup expanded;
  const std::uint8_t* codes = group_codes<encoding>(group, expanded);
  for (int p = 0; p < kQuarters; ++p) {
    unroll<kQuads>([&]<int q>() __attribute__((always_inline)) {
      vst1q_s8(out.values[q][p], load_values<encoding, q>(codes, table, p));
    });
    for (int b = 0; b < kBlocks; ++b) {
      out.scale[b][p] = load_scale<encoding>(group, b, p);
      out.min[b][p] = vdupq_n_f32(0.0f);
      if constexpr (kSpec.has_min) {
        out.min[b][p] = load_min<encoding>(group, b, p);
      }
    }
  }
}

// What tbl needs to bring byte j of each 32 bits to the top and zeros below it. As a number with 24
// bits after the point that is the byte: the conversion shifts it down for nothing.
struct ColumnTables {
  uint8x16_t column[4];
};

inline ColumnTables column_tables() {
  ColumnTables tables;
  for (unsigned j = 0; j < 4; ++j) {
    const std::uint32_t row = j << 24 | 0x00ffffffu;  // an index that is out of range gives zero
    const uint32x4_t rows = {row, row + (4u << 24), row + (8u << 24), row + (12u << 24)};
    tables.column[j] = vreinterpretq_u8_u32(rows);
  }
  return tables;
}

// Column j of a quad as floats.
inline float32x4_t column_of(int8x16_t values, uint8x16_t table) {
  return vcvtq_n_f32_s32(vreinterpretq_s32_s8(vqtbl1q_s8(values, table)), 24);
}

// Element `at` of a dense panel and the three after it.
template <Encoding encoding>
inline float32x4_t load_dense(const std::byte* panel, std::int64_t at) {
  if constexpr (encoding == Encoding::kF32) {
    return vld1q_f32(reinterpret_cast<const float*>(panel) + at);
  } else if constexpr (encoding == Encoding::kF16) {
    return load_halves(panel + 2 * at);
  } else {
    return vreinterpretq_f32_u32(
        vshll_n_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(panel) + at), 16));
  }
}

// Unpacked groups for one token: 8 rows at a time, whose eight sums leave room for their scales.
template <int kBlocks>
void run_chunk_one(const UnpackedGroup<kBlocks>* groups, int n_groups, const float* x,
                   ColumnTables tables, TokenParts& parts) {
  constexpr int kQuarterPair = 2;
  for (int first = 0; first < kQuarters; first += kQuarterPair) {
    float32x4_t acc[kParts][kQuarterPair];
    for (int j = 0; j < kParts; ++j) {
      for (int p = 0; p < kQuarterPair; ++p) acc[j][p] = vld1q_f32(parts[j] + 4 * (first + p));
    }
    for (int q = 0; q < n_groups * kQuads; ++q) {
      const UnpackedGroup<kBlocks>& group = groups[q / kQuads];
      const int b = q % kQuads / (kQuads / kBlocks);
      const float32x4_t x_quad = vld1q_f32(x + 4 * q);
      CRIA_UNROLL
      for (int p = 0; p < kQuarterPair; ++p) {
        const int8x16_t values = vld1q_s8(group.values[q % kQuads][first + p]);
        unroll<kParts>([&]<int j>() __attribute__((always_inline)) {
          const float32x4_t w = vfmaq_f32(group.min[b][first + p], group.scale[b][first + p],
                                          column_of(values, tables.column[j]));
          acc[j][p] = vfmaq_laneq_f32(acc[j][p], w, x_quad, j);
        });
      }
    }
    for (int j = 0; j < kParts; ++j) {
      for (int p = 0; p < kQuarterPair; ++p) vst1q_f32(parts[j] + 4 * (first + p), acc[j][p]);
    }
  }
}

// A whole block-encoded panel for one token.
template <Encoding encoding>
void run_one(const std::byte* panel, const PanelLayout& layout, const float* x, std::int64_t n_cols,
             TokenParts& parts) {
  const spec::Panel packed = spec::panel_at(panel, layout);
  const ColumnTables tables = column_tables();
  UnpackedGroup<kBlocksOf<encoding>> chunk[kChunkGroups];
  std::memset(&parts, 0, sizeof(parts));
  for (std::int64_t k0 = 0; k0 < n_cols; k0 += kChunkColumns) {
    const std::int64_t left = n_cols - k0;
    const float* x_chunk = x + k0;
    float padded[kChunkColumns];
    int n = kChunkGroups;
    if (left < kChunkColumns) {  // weights of the padding meet zeros
      n = static_cast<int>((left + kColumnGroup - 1) / kColumnGroup);
      std::memset(padded, 0, sizeof(padded));
      std::memcpy(padded, x_chunk, static_cast<std::size_t>(left) * sizeof(float));
      x_chunk = padded;
    }
    for (int g = 0; g < n; ++g) {
      unpack_group<encoding>(spec::group_at<encoding>(packed, k0 / kColumnGroup + g), chunk[g]);
    }
    run_chunk_one(chunk, n, x_chunk, tables, parts);
  }
}

template <Encoding encoding>
void run_one_dense(const std::byte* panel, const float* x, std::int64_t n_cols, TokenParts& parts) {
  float32x4_t acc[kParts][kQuarters];
  for (auto& part : acc) {
    for (float32x4_t& sum : part) sum = vdupq_n_f32(0.0f);
  }
  std::int64_t k = 0;
  for (; k + kParts <= n_cols; k += kParts) {
    const float32x4_t x_quad = vld1q_f32(x + k);
    unroll<kParts>([&]<int j>() __attribute__((always_inline)) {
      CRIA_UNROLL
      for (int p = 0; p < kQuarters; ++p) {
        const float32x4_t w = load_dense<encoding>(panel, (k + j) * kPanelRows + 4 * p);
        acc[j][p] = vfmaq_laneq_f32(acc[j][p], w, x_quad, j);
      }
    });
  }
  for (int j = 0; j < kParts; ++j) {
    for (int p = 0; p < kQuarters; ++p) vst1q_f32(parts[j] + 4 * p, acc[j][p]);
  }
  for (int j = 0; k + j < n_cols; ++j) {  // the columns after the last whole quad
    for (int p = 0; p < kQuarters; ++p) {
      const float32x4_t w = load_dense<encoding>(panel, (k + j) * kPanelRows + 4 * p);
      float* at = parts[j] + 4 * p;
      vst1q_f32(at, vfmaq_n_f32(vld1q_f32(at), w, x[k + j]));
    }
  }
}

// The weights of a group as floats: w[column][16]. Not inlined, and the tables by value: the
// compiler would see through them and fetch constants again and again; so they stay in registers.
template <int kBlocks>
[[gnu::noinline]] void decode_group(const UnpackedGroup<kBlocks>& group, ColumnTables tables,
                                    float* w) {
  for (int q = 0; q < kQuads; ++q) {
    const int b = q / (kQuads / kBlocks);
    for (int p = 0; p < kQuarters; ++p) {
      const int8x16_t values = vld1q_s8(group.values[q][p]);
      CRIA_UNROLL
      for (int j = 0; j < 4; ++j) {
        vst1q_f32(
            w + (4 * q + j) * kPanelRows + 4 * p,
            vfmaq_f32(group.min[b][p], group.scale[b][p], column_of(values, tables.column[j])));
      }
    }
  }
}

// Decodes the columns [k0, k0 + n) of a panel to w[column][16]; k0 and the buffer are multiples of
// whole groups. Float panels are used where they lie.
template <Encoding encoding>
inline const float* decode_chunk(const std::byte* panel, const PanelLayout& layout, std::int64_t k0,
                                 int n, float* w) {
  if constexpr (encoding == Encoding::kF32) {
    return reinterpret_cast<const float*>(panel) + k0 * kPanelRows;
  } else if constexpr (encoding_spec(encoding).dense()) {
    for (int i = 0; i < n * kPanelRows; i += 4) {
      vst1q_f32(w + i, load_dense<encoding>(panel, k0 * kPanelRows + i));
    }
  } else {
    const spec::Panel packed = spec::panel_at(panel, layout);
    const ColumnTables tables = column_tables();
    UnpackedGroup<kBlocksOf<encoding>> group;
    for (int k = 0; k < n; k += kColumnGroup) {
      unpack_group<encoding>(spec::group_at<encoding>(packed, (k0 + k) / kColumnGroup), group);
      decode_group(group, tables, w + k * kPanelRows);
    }
  }
  return w;
}

// One chunk for a tile of tokens: part after part, so that 4 tokens x 16 rows stay in registers.
template <int kTokens>
void run_chunk(const float* w, int n, const float* x, std::int64_t x_stride, TokenParts* parts) {
  for (int j = 0; j < kParts; ++j) {
    float32x4_t acc[kTokens][kQuarters];
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kQuarters; ++p) acc[t][p] = vld1q_f32(parts[t][j] + 4 * p);
    }
    for (int k = j; k < n; k += kParts) {
      float32x4_t weights[kQuarters];
      for (int p = 0; p < kQuarters; ++p) weights[p] = vld1q_f32(w + k * kPanelRows + 4 * p);
      for (int t = 0; t < kTokens; ++t) {
        const float x_k = x[t * x_stride + k];
        for (int p = 0; p < kQuarters; ++p) acc[t][p] = vfmaq_n_f32(acc[t][p], weights[p], x_k);
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kQuarters; ++p) vst1q_f32(parts[t][j] + 4 * p, acc[t][p]);
    }
  }
}

template <Encoding encoding>
void run_many(const LinearA16Args& args, const std::byte* panel, const PanelLayout& layout,
              std::int64_t first, int n_tokens, TokenParts* parts) {
  alignas(64) float buffer[kChunkColumns * kPanelRows];
  std::memset(parts, 0, sizeof(TokenParts) * static_cast<std::size_t>(n_tokens));
  for (std::int64_t k0 = 0; k0 < args.n_cols; k0 += kChunkColumns) {
    const std::int64_t left = args.n_cols - k0;
    const int n = left < kChunkColumns ? static_cast<int>(left) : kChunkColumns;
    const float* w = decode_chunk<encoding>(panel, layout, k0, n, buffer);
    const float* x = args.x + first * args.x_stride + k0;
    int t = 0;
    for (; t + kTileTokens <= n_tokens; t += kTileTokens) {
      run_chunk<kTileTokens>(w, n, x + t * args.x_stride, args.x_stride, parts + t);
    }
    for (; t < n_tokens; ++t) {
      run_chunk<1>(w, n, x + t * args.x_stride, args.x_stride, parts + t);
    }
  }
}

inline void write_parts(const LinearA16Args& args, const TokenParts* parts, std::int64_t row,
                        std::int64_t first, int n_tokens) {
  const std::int64_t left = args.n_rows - row;
  const int n_rows = left < kPanelRows ? static_cast<int>(left) : kPanelRows;
  for (int t = 0; t < n_tokens; ++t) {
    float* out = args.out + (first + t) * args.out_stride + row;
    for (int r = 0; r < n_rows; ++r) {
      const float acc = (parts[t][0][r] + parts[t][1][r]) + (parts[t][2][r] + parts[t][3][r]);
      out[r] = args.accumulate ? out[r] + acc : acc;
    }
  }
}

template <Encoding encoding>
void linear_a16_of(const LinearA16Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  const std::byte* panel = args.panels;
  for (std::int64_t row = 0; row < args.n_rows; row += kPanelRows, panel += layout.size_bytes) {
    for (std::int64_t first = 0; first < args.n_tokens; first += kTokenBlock) {
      const std::int64_t left = args.n_tokens - first;
      const int n = left < kTokenBlock ? static_cast<int>(left) : kTokenBlock;
      TokenParts parts[kTokenBlock];
      if (n > 1) {
        run_many<encoding>(args, panel, layout, first, n, parts);
      } else if constexpr (encoding_spec(encoding).dense()) {
        run_one_dense<encoding>(panel, args.x + first * args.x_stride, args.n_cols, parts[0]);
      } else {
        run_one<encoding>(panel, layout, args.x + first * args.x_stride, args.n_cols, parts[0]);
      }
      write_parts(args, parts, row, first, n);
    }
  }
}

}  // namespace
}  // namespace neon

void linear_a16_neon_dotprod(const LinearA16Args& args) {
  switch (kernel_form(args.encoding)) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return neon::linear_a16_of<Encoding::name>(args);
    CRIA_CASE(kF32)
    CRIA_CASE(kF16)
    CRIA_CASE(kBF16)
    CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
    default:
      return;  // kernel_form() gives nothing else
  }
}

}  // namespace cria

// linear_a8 with NEON: what sdot (neon_dotprod.cc) and smmla (neon_i8mm.cc) share. Internal linkage
// throughout, as in panel/generic.h.
//
// Both multiply signed bytes by signed bytes into exact 32-bit sums, so a group of 32 columns adds
// up without any trick. Two ways to get the weights there:
//
//   one token    codes are unpacked into registers, straight into sdot. kSigned codes of up to 7
//                bits go in unsigned, as they are; the sum starts at -offset * sum x instead.
//   more         the groups of a chunk are unpacked once to signed bytes, in the order in which the
//                instruction takes them, and the tokens of a block go by in tiles of 4.
//
// After unpacking, all encodings with the same kinds of scales look the same: A8Shape.
#pragma once

#include "kernels/panel/neon.h"

namespace cria::neon {
namespace {

// Weights of one panel that are kept unpacked while the tokens of a block go by: 8 groups are
// 5 to 7 KiB, which leaves room in the first-level cache for the activations.
constexpr int kChunkGroups = kSuperBlock / kColumnGroup;
constexpr int kTokenBlock = 32;
// 4 tokens x 16 rows are 16 registers of sums; weights and activations share the other 16.
constexpr int kTileTokens = 4;

// How the sums of a group become floats.
struct A8Shape {
  bool has_min;
  int blocks;  // in a group of 32 columns; of two, small scales multiply in integers

  constexpr int quads() const { return kQuads / blocks; }  // of a block
};

template <Encoding encoding>
inline constexpr A8Shape kA8Shape = {encoding_spec(encoding).has_min,
                                     kColumnGroup / encoding_spec(encoding).block};

// What a group has besides codes, four rows a register.
template <A8Shape shape>
struct GroupScales {
  float32x4_t scale[kQuarters];  // of two blocks: the super scale
  float32x4_t min[kQuarters];
  int32x4_t block_scale[shape.blocks][kQuarters];  // of two blocks only
  int32x4_t block_min[shape.blocks][kQuarters];
};

template <Encoding encoding>
inline void load_scales(const spec::Group& group, GroupScales<kA8Shape<encoding>>& out) {
  constexpr A8Shape kShape = kA8Shape<encoding>;
  for (int p = 0; p < kQuarters; ++p) {
    if constexpr (kShape.blocks == 1) {
      out.scale[p] = load_scale<encoding>(group, 0, p);
      if constexpr (kShape.has_min) out.min[p] = load_min<encoding>(group, 0, p);
    } else {
      out.scale[p] = load_super_scale(group, p);
      if constexpr (kShape.has_min) out.min[p] = load_super_min(group, p);
      for (int b = 0; b < 2; ++b) {
        out.block_scale[b][p] = load_signed(spec::scales_of<encoding>(group, b) + 4 * p);
        if constexpr (kShape.has_min) {
          const uint32x4_t min = load_unsigned(spec::mins_of<encoding>(group, b) + 4 * p);
          out.block_min[b][p] = vreinterpretq_s32_u32(min);
        }
      }
    }
  }
}

// The sum of a token's codes in block `b` of a group.
template <A8Shape shape>
inline int sum_of_block(const A8Block& block, int b) {
  return shape.blocks == 1 ? block.sums[0] + block.sums[1] : block.sums[b];
}

// Weights the exact sums of block `b` by its small scales and adds them up over the blocks.
template <A8Shape shape>
inline int32x4_t add_block(const GroupScales<shape>& scales, int b, int p, int32x4_t sum,
                           int32x4_t dot) {
  if constexpr (shape.blocks == 1) return dot;
  if (b == 0) return vmulq_s32(dot, scales.block_scale[0][p]);
  return vmlaq_s32(sum, dot, scales.block_scale[b][p]);
}

// Adds the group to the float sums of one token and four rows.
template <A8Shape shape>
inline float32x4_t finish_group(const GroupScales<shape>& scales, const A8Block& block, int p,
                                int32x4_t isum, float32x4_t acc) {
  const float32x4_t dot = vcvtq_f32_s32(isum);
  acc = shape.blocks == 2 ? vfmaq_f32(acc, dot, vmulq_n_f32(scales.scale[p], block.scale))
                          : vfmaq_f32(acc, vmulq_n_f32(dot, block.scale), scales.scale[p]);
  if constexpr (shape.has_min) {
    const float32x4_t min = vmulq_n_f32(scales.min[p], block.scale);
    if constexpr (shape.blocks == 2) {
      int32x4_t sums = vmulq_n_s32(scales.block_min[0][p], sum_of_block<shape>(block, 0));
      sums = vmlaq_n_s32(sums, scales.block_min[1][p], sum_of_block<shape>(block, 1));
      acc = vfmsq_f32(acc, vcvtq_f32_s32(sums), min);
    } else {
      acc = vfmaq_n_f32(acc, min, static_cast<float>(sum_of_block<shape>(block, 0)));
    }
  }
  return acc;
}

// Keeps the sums of a tile growing together. Compilers otherwise move the chain of additions to one
// sum to where it is used, one chain after the other, which needs all weights of the group at once:
// half of the loop is then spills (GCC 12, counted).
inline void keep(int32x4_t& v) { asm volatile("" : "+w"(v)); }

using TokenSums = float[kPanelRows];

// --- one token -----------------------------------------------------------------------------------

// What the bytes of `quad_operand` are above the values.
template <Encoding encoding>
inline constexpr int kOperandOffset = encoding_spec(encoding).bits < 8 ? kCodeOffset<encoding> : 0;

template <Encoding encoding, int quad>
inline int8x16_t quad_operand(const std::uint8_t* group, int8x16_t table, int quarter) {
  if constexpr (kOperandOffset<encoding> != 0) {
    return vreinterpretq_s8_u8(load_quad<encoding_spec(encoding).bits, quad>(group, quarter));
  } else {
    return load_values<encoding, quad>(group, table, quarter);
  }
}

// The sums of one group, weighted by the small scales.
template <Encoding encoding>
[[gnu::always_inline]] inline void dot_packed(const std::uint8_t* codes, int8x16_t table,
                                              const GroupScales<kA8Shape<encoding>>& scales,
                                              const std::int8_t* x, const A8Block& block,
                                              int32x4_t (&isum)[kQuarters]) {
  constexpr A8Shape kShape = kA8Shape<encoding>;
  const int8x16_t x_halves[2] = {vld1q_s8(x), vld1q_s8(x + 16)};
  unroll<kShape.blocks>([&]<int b>() __attribute__((always_inline)) {
    int32x4_t dot[kQuarters];
    const int start = -kOperandOffset<encoding> * sum_of_block<kShape>(block, b);
    for (int32x4_t& sum : dot) sum = vdupq_n_s32(start);
    unroll<kShape.quads()>([&]<int q>() __attribute__((always_inline)) {
      constexpr int kQuad = b * kShape.quads() + q;
      // Four chains of sums, one after the other: an in-order core never waits for itself.
      CRIA_UNROLL
      for (int p = 0; p < kQuarters; ++p) {
        const int8x16_t w = quad_operand<encoding, kQuad>(codes, table, p);
        dot[p] = vdotq_laneq_s32(dot[p], w, x_halves[kQuad / 4], kQuad % 4);
      }
    });
    CRIA_UNROLL
    for (int p = 0; p < kQuarters; ++p) isum[p] = add_block(scales, b, p, isum[p], dot[p]);
  });
}

template <Encoding encoding>
void run_packed(const LinearA8Args& args, const spec::Panel& panel, std::int64_t token,
                TokenSums& sums) {
  const int8x16_t table = load_table<encoding>();
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const std::int8_t* x = args.codes + token * n_groups * kColumnGroup;
  const A8Block* blocks = args.blocks + token * n_groups;
  float32x4_t acc[kQuarters];
  for (float32x4_t& part : acc) part = vdupq_n_f32(0.0f);
  spec::GroupWalk<encoding> walk(panel.scale_shift, 0);
  for (std::int64_t g = 0; g < n_groups; ++g, walk.next()) {
    const spec::Group group = walk.of(panel.bytes);
    GroupScales<kA8Shape<encoding>> scales;
    load_scales<encoding>(group, scales);
    int32x4_t isum[kQuarters] = {};
    ExpandedGroup expanded;
    dot_packed<encoding>(group_codes<encoding>(group, expanded), table, scales,
                         x + g * kColumnGroup, blocks[g], isum);
    CRIA_UNROLL
    for (int p = 0; p < kQuarters; ++p) {
      acc[p] = finish_group(scales, blocks[g], p, isum[p], acc[p]);
    }
  }
  for (int p = 0; p < kQuarters; ++p) vst1q_f32(sums + 4 * p, acc[p]);
}

// --- several tokens ------------------------------------------------------------------------------

// One group of one panel, unpacked to signed bytes.
template <A8Shape shape>
struct UnpackedGroup {
  alignas(64) std::int8_t values[kColumnGroup * kPanelRows];
  GroupScales<shape> scales;
};

template <Encoding encoding, typename Dot>
inline void unpack_group(const spec::Group& group, int8x16_t table,
                         UnpackedGroup<kA8Shape<encoding>>& out) {
  ExpandedGroup expanded;
  const std::uint8_t* codes = group_codes<encoding>(group, expanded);
  for (int p = 0; p < kQuarters; ++p) {
    unroll<kQuads / 2>([&]<int pair>() __attribute__((always_inline)) {
      Dot::store_pair(out.values, pair, p, load_values<encoding, 2 * pair>(codes, table, p),
                      load_values<encoding, 2 * pair + 1>(codes, table, p));
    });
  }
  load_scales<encoding>(group, out.scales);
}

// One group for a few tokens. `blocks` and `x` are those of the first of them.
template <A8Shape shape, int kTokens, typename Dot>
[[gnu::always_inline]] inline void add_group(const UnpackedGroup<shape>& group,
                                             const std::int8_t* x, const A8Block* blocks,
                                             TokenSums* sums) {
  // With two blocks, a whole tile would need 32 registers of sums: then one half after the other.
  constexpr int kParts = shape.blocks * kTokens > kTileTokens ? 2 : 4;
  for (int first = 0; first < kQuarters; first += kParts) {
    int32x4_t isum[kTokens][kParts];
    unroll<shape.blocks>([&]<int b>() __attribute__((always_inline)) {
      int32x4_t dot[kTokens][kParts];
      Dot::template run<shape.quads()>(group.values + b * shape.quads() * 64, first,
                                       x + b * shape.quads() * 4, kColumnGroup, dot);
      CRIA_UNROLL
      for (int p = 0; p < kParts; ++p) {
        CRIA_UNROLL
        for (int t = 0; t < kTokens; ++t) {
          isum[t][p] = add_block(group.scales, b, first + p, isum[t][p], dot[t][p]);
        }
      }
    });
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const A8Block block = blocks[t];  // a copy, which stores cannot change
      CRIA_UNROLL
      for (int p = 0; p < kParts; ++p) {
        // Float sums rest in memory (the first-level cache): registers are for the integers.
        float* at = sums[t] + 4 * (first + p);
        vst1q_f32(at, finish_group(group.scales, block, first + p, isum[t][p], vld1q_f32(at)));
      }
    }
  }
}

// The groups of a chunk for a few tokens of a tile, whose groups lie `stride` blocks apart.
template <A8Shape shape, int kTokens, typename Dot>
void run_chunk(const UnpackedGroup<shape>* groups, int n, const std::int8_t* x,
               const A8Block* blocks, std::int64_t stride, TokenSums* sums) {
  for (int g = 0; g < n; ++g) {
    add_group<shape, kTokens, Dot>(groups[g], x + g * stride * kColumnGroup, blocks + g * stride,
                                   sums);
  }
}

// A whole panel for a tile of tokens: each chunk of columns is unpacked once for all of them.
template <Encoding encoding, typename Dot>
void run_unpacked(const LinearA8Args& args, const spec::Panel& panel, std::int64_t first,
                  int n_tokens, TokenSums* sums) {
  constexpr A8Shape kShape = kA8Shape<encoding>;
  const int8x16_t table = load_table<encoding>();
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  UnpackedGroup<kShape> chunk[kChunkGroups];
  std::memset(sums, 0, sizeof(TokenSums) * static_cast<std::size_t>(n_tokens));
  for (std::int64_t g = 0; g < n_groups; g += kChunkGroups) {
    const int n = n_groups - g < kChunkGroups ? static_cast<int>(n_groups - g) : kChunkGroups;
    for (int i = 0; i < n; ++i) {
      unpack_group<encoding, Dot>(spec::group_at<encoding>(panel, g + i), table, chunk[i]);
    }
    const std::int64_t at = first * n_groups + g * n_tokens;
    const std::int8_t* x = args.codes + at * kColumnGroup;
    const A8Block* blocks = args.blocks + at;
    const auto run = [&]<int kTokens>(std::integral_constant<int, kTokens>, int t) {
      run_chunk<kShape, kTokens, Dot>(chunk, n, x + t * kColumnGroup, blocks + t, n_tokens,
                                      sums + t);
      return t + kTokens;
    };
    int t = 0;
    while (t + kTileTokens <= n_tokens) t = run(std::integral_constant<int, kTileTokens>{}, t);
    if (t + 2 <= n_tokens) t = run(std::integral_constant<int, 2>{}, t);
    if (t < n_tokens) run(std::integral_constant<int, 1>{}, t);
  }
}

// Rows [row, row + n_rows) of the output for the tokens [first, first + n_tokens).
inline void write_sums(const LinearA8Args& args, const TokenSums* sums, std::int64_t row,
                       std::int64_t first, int n_tokens) {
  const std::int64_t left = args.n_rows - row;
  const int n_rows = left < kPanelRows ? static_cast<int>(left) : kPanelRows;
  for (int t = 0; t < n_tokens; ++t) {
    float* out = args.out + (first + t) * args.out_stride + row;
    for (int r = 0; r < n_rows; ++r) out[r] = args.accumulate ? out[r] + sums[t][r] : sums[t][r];
  }
}

template <Encoding encoding, typename Dot>
void linear_a8_of(const LinearA8Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  const std::byte* panel = args.panels;
  for (std::int64_t row = 0; row < args.n_rows; row += kPanelRows, panel += layout.size_bytes) {
    const spec::Panel packed = spec::panel_at(panel, layout);
    for (std::int64_t first = 0; first < args.n_tokens; first += kTokenBlock) {
      const std::int64_t left = args.n_tokens - first;
      const int n = left < kTokenBlock ? static_cast<int>(left) : kTokenBlock;
      alignas(64) TokenSums sums[kTokenBlock];
      if (!Dot::kOneToken || n > 1) {
        run_unpacked<encoding, Dot>(args, packed, first, n, sums);
      } else if constexpr (Dot::kOneToken) {
        run_packed<encoding>(args, packed, first, sums[0]);
      }
      write_sums(args, sums, row, first, n);
    }
  }
}

// Dot is how an instruction set multiplies unpacked values (`static` members):
//   kOneToken                                whether one token goes through run_packed
//   store_pair(values, pair, p, even, odd)   puts the quads 2 * pair and 2 * pair + 1 of the rows
//                                            4 * p .. where `run` finds them
//   run<quads>(values, first, x, x_stride, dot)   dot[t][p] = sums over `quads` quads of token t
//                                            and rows 4 * (first + p) ..
template <typename Dot>
inline void linear_a8(const LinearA8Args& args) {
  switch (kernel_form(args.encoding)) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return linear_a8_of<Encoding::name, Dot>(args);
    CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
    default:
      return;  // dense weights have no a8 form
  }
}

}  // namespace
}  // namespace cria::neon

// linear_a8 with AVX2.
//
// The instruction that matters is vpmaddubsw: 32 products of an unsigned and a signed byte, added
// in pairs to 16 bits. It saturates, so the weights' codes are brought to unsigned numbers so small
// that sums of several quads fit into 16 bits, and what was added to make them unsigned is taken
// off with the sum of the activations (exact, in integers):
//
//   sum value x = sum u x - offset * sum x
//
//   up to 4 bits   all 8 quads of a group add up in 16 bits:     15 * 127 * 16 < 2^15
//   5 bits, mxfp4  4 quads                                       31 * 127 *  8 < 2^15
//   6 bits         2 quads                                       63 * 127 *  4 < 2^15
//   e8p2, e8p3     4 quads
//   e8p4           one quad:                                    119 * 127 * 2 < 2^15
//   8 bits, iq4nl  one quad, of magnitudes: sum |value| (sign(value) x), 128 * 127 * 2 < 2^15
//
// Two planes of 4 bits (u = 16 high + low, 8 quads each) have as many operations as the magnitudes,
// but half as many loads again, and were slower by a third.
//
// The sums go to 32 bits with vpmaddwd, whose other operand carries the small scales of blocks of
// 16 columns for nothing.
#include "kernels/isa.h"
#include "kernels/panel/avx2_words.h"
#include "kernels/panel/prefetch.h"

namespace cria {
namespace avx2 {
namespace {

// Weights of one panel that are kept unpacked while the tokens of a block go by: 8 groups are
// 4 to 9 KiB, which leaves room in the first-level cache for the activations.
constexpr int kChunkGroups = kSuperBlock / kColumnGroup;
constexpr int kTokenBlock = kA8TileTokens;
// Tokens of a register tile: 4 tokens x 2 halves = 8 sums.
constexpr int kTileTokens = 4;

// How the codes of an encoding become unsigned planes.
template <Encoding encoding>
struct A8Form {
  static constexpr EncodingSpec kSpec = encoding_spec(encoding);
  static constexpr int kBlocks = kColumnGroup / kSpec.block;  // of two, small scales are integers
  // Two planes, magnitudes and values, or one of unsigned codes.
  static constexpr bool kWords = kSpec.code_columns() > 1;
  static constexpr bool kE8P = kSpec.codebook == Codebook::kE8P;
  static constexpr bool kMagnitudes =
      kSpec.bits == 8 || kSpec.codebook == Codebook::kIq4Nl || encoding == Encoding::kQ8S24;
  static constexpr int kPlanes = kMagnitudes ? 2 : 1;
  static constexpr int kOffset = kMagnitudes                           ? 0
                                 : kSpec.codebook == Codebook::kSigned ? 1 << (kSpec.bits - 1)
                                 : kSpec.codebook == Codebook::kMxfp4  ? 12
                                 : kE8P                                ? (kSpec.bits == 4 ? 64 : 16)
                                 : encoding == Encoding::kQ4S24        ? 8
                                                                       : 0;
  static constexpr int kQuadsThatFit = kE8P              ? (kSpec.bits == 4 ? 1 : 4)
                                       : kSpec.bits == 6 ? 2
                                       : kSpec.bits == 5 || kSpec.codebook == Codebook::kMxfp4 ? 4
                                                                                               : 8;
  // Quads whose 16-bit sums are added before they go to 32 bits; within one block.
  static constexpr int kRun = kQuadsThatFit < kSpec.block / 4 ? kQuadsThatFit : kSpec.block / 4;
};

// Table codebooks, for vpshufb.
struct CodeTables {
  __m256i plane[2];
};

template <Encoding encoding>
inline CodeTables make_tables() {
  using Form = A8Form<encoding>;
  CodeTables tables = {};
  if constexpr (Form::kSpec.codebook == Codebook::kIq4Nl ||
                Form::kSpec.codebook == Codebook::kMxfp4) {
    const __m256i values =
        _mm256_broadcastsi128_si256(load_128(codebook_values(Form::kSpec.codebook)));
    tables.plane[0] = Form::kMagnitudes ? _mm256_abs_epi8(values)
                                        : _mm256_add_epi8(values, _mm256_set1_epi8(Form::kOffset));
    tables.plane[1] = values;
  }
  return tables;
}

template <Encoding encoding>
inline __m256i code_plane(const CodeTables& tables, __m256i codes, int plane) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.codebook == Codebook::kIq4Nl || kSpec.codebook == Codebook::kMxfp4) {
    return _mm256_shuffle_epi8(tables.plane[plane], codes);
  } else if constexpr (A8Form<encoding>::kWords) {
    return A8Form<encoding>::kMagnitudes && plane == 0 ? _mm256_abs_epi8(codes) : codes;
  } else if constexpr (kSpec.bits == 8) {
    const __m256i values = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
    return plane == 1 ? values : _mm256_abs_epi8(values);
  } else {
    return codes;
  }
}

// What a group has besides codes, by halves of 8 rows. Pairs are two int16 in a row's 32 bits.
template <Encoding encoding>
struct GroupScales {
  __m256 scale[2];  // of two blocks: the super scale
  __m256 float_min[2];
  // Of two blocks only:
  __m256i block[2][2];  // (scale, scale) of each
  __m256i offset[2];    // offset * (scale of the first, of the second)
  __m256i min[2];       // (min of the first, of the second)
};

inline __m256i pair_of(__m256i low, __m256i high) {
  return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xaa);
}

template <Encoding encoding>
inline GroupScales<encoding> load_scales(const spec::Group& group) {
  using Form = A8Form<encoding>;
  GroupScales<encoding> out;
  for (int h = 0; h < 2; ++h) {
    if constexpr (Form::kBlocks == 1) {
      out.scale[h] = load_scale<encoding>(group, 0, h);
      if constexpr (Form::kSpec.has_min) out.float_min[h] = load_min<encoding>(group, 0, h);
    } else {
      out.scale[h] = load_super_scale(group, h);
      if constexpr (Form::kSpec.has_min) out.float_min[h] = load_super_min(group, h);
      __m256i scale[2], min[2];
      for (int b = 0; b < 2; ++b) {
        scale[b] = load_signed(spec::scales_of<encoding>(group, b) + 8 * h);
        out.block[b][h] = pair_of(scale[b], scale[b]);
        if constexpr (Form::kSpec.has_min) {
          min[b] = load_unsigned(spec::mins_of<encoding>(group, b) + 8 * h);
        }
      }
      if constexpr (Form::kOffset != 0) {
        out.offset[h] =
            _mm256_mullo_epi16(pair_of(scale[0], scale[1]), _mm256_set1_epi16(Form::kOffset));
      }
      if constexpr (Form::kSpec.has_min) out.min[h] = pair_of(min[0], min[1]);
    }
  }
  return out;
}

// One group of one panel, unpacked.
template <Encoding encoding>
struct UnpackedGroup {
  alignas(32) std::uint8_t codes[kQuads][A8Form<encoding>::kPlanes][2][32];
  GroupScales<encoding> scales;

  __m256i load(int quad, int half, int plane) const { return load_256(codes[quad][plane][half]); }
};

// One group where it lies: for few tokens, unpacking goes straight into registers.
template <Encoding encoding>
struct PackedGroup {
  const std::uint8_t* group;
  const CodeTables& tables;

  __m256i load(int quad, int half, int plane) const {
    return code_plane<encoding>(tables, load_quad<kGroupBits<encoding>>(group, quad, half), plane);
  }
};

inline __m256i broadcast_32(const void* at) {
  int bits;
  std::memcpy(&bits, at, sizeof(bits));
  return _mm256_set1_epi32(bits);
}

// The factor of the sums of a block: its small scale, or 1.
template <Encoding encoding>
inline __m256i block_factor(const GroupScales<encoding>& scales, int quad, int half) {
  if constexpr (A8Form<encoding>::kBlocks == 2) {
    return scales.block[4 * quad / encoding_spec(encoding).block][half];
  } else {
    return _mm256_set1_epi16(1);
  }
}

// 32-bit sums of one group, rows 8 h ..: isum[t][h] = sum_b scale8[b] sum_k u[k] x[t][k], from
// unsigned codes. x: the activations of the group, token after token.
template <Encoding encoding, int kTokens, typename Codes>
inline void dot_codes(const Codes& codes, const GroupScales<encoding>& scales, const std::int8_t* x,
                      __m256i (&isum)[kTokens][2]) {
  constexpr int kRun = A8Form<encoding>::kRun;
  CRIA_UNROLL
  for (int first = 0; first < kQuads; first += kRun) {
    __m256i sum[kTokens][2];
    CRIA_UNROLL
    for (int q = 0; q < kRun; ++q) {
      const __m256i w[2] = {codes.load(first + q, 0, 0), codes.load(first + q, 1, 0)};
      CRIA_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        const __m256i quad = broadcast_32(x + t * kColumnGroup + 4 * (first + q));
        CRIA_UNROLL
        for (int h = 0; h < 2; ++h) {
          const __m256i products = _mm256_maddubs_epi16(w[h], quad);
          sum[t][h] = q == 0 ? products : _mm256_add_epi16(sum[t][h], products);
          keep(sum[t][h]);
        }
      }
    }
    CRIA_UNROLL
    for (int h = 0; h < 2; ++h) {
      const __m256i factor = block_factor<encoding>(scales, first, h);
      CRIA_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        const __m256i wide = _mm256_madd_epi16(sum[t][h], factor);
        isum[t][h] = first == 0 ? wide : _mm256_add_epi32(isum[t][h], wide);
      }
    }
  }
}

// The same from magnitudes and values.
template <Encoding encoding, int kTokens, typename Codes>
inline void dot_magnitudes(const Codes& codes, const GroupScales<encoding>& scales,
                           const std::int8_t* x, __m256i (&isum)[kTokens][2]) {
  CRIA_UNROLL
  for (int q = 0; q < kQuads; ++q) {
    const __m256i magnitude[2] = {codes.load(q, 0, 0), codes.load(q, 1, 0)};
    const __m256i value[2] = {codes.load(q, 0, 1), codes.load(q, 1, 1)};
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const __m256i quad = broadcast_32(x + t * kColumnGroup + 4 * q);
      CRIA_UNROLL
      for (int h = 0; h < 2; ++h) {
        const __m256i products =
            _mm256_maddubs_epi16(magnitude[h], _mm256_sign_epi8(quad, value[h]));
        const __m256i wide = _mm256_madd_epi16(products, block_factor<encoding>(scales, q, h));
        isum[t][h] = q == 0 ? wide : _mm256_add_epi32(isum[t][h], wide);
        keep(isum[t][h]);
      }
    }
  }
}

// Takes the offset off and adds the group to a row's float sum.
template <Encoding encoding>
inline __m256 finish_group(const GroupScales<encoding>& scales, const A8Block& block, __m256i isum,
                           int half, __m256 acc) {
  using Form = A8Form<encoding>;
  const __m256i x_sums = broadcast_32(block.sums);
  const __m256 x_scale = _mm256_set1_ps(block.scale);
  if constexpr (Form::kOffset != 0) {
    __m256i offset = _mm256_set1_epi16(Form::kOffset);
    if constexpr (Form::kBlocks == 2) offset = scales.offset[half];
    isum = _mm256_sub_epi32(isum, _mm256_madd_epi16(offset, x_sums));
  }
  const __m256 dot = _mm256_cvtepi32_ps(isum);
  acc = Form::kBlocks == 2 ? _mm256_fmadd_ps(dot, _mm256_mul_ps(scales.scale[half], x_scale), acc)
                           : _mm256_fmadd_ps(_mm256_mul_ps(dot, x_scale), scales.scale[half], acc);
  if constexpr (Form::kSpec.has_min) {
    const __m256 min = _mm256_mul_ps(scales.float_min[half], x_scale);
    if constexpr (Form::kBlocks == 2) {
      const __m256i sums = _mm256_madd_epi16(scales.min[half], x_sums);
      acc = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(sums), min, acc);
    } else {
      const __m256i sums = _mm256_madd_epi16(_mm256_set1_epi16(1), x_sums);
      acc = _mm256_fmadd_ps(min, _mm256_cvtepi32_ps(sums), acc);
    }
  }
  return acc;
}

// One group for a few tokens. `x` and `blocks` are those of the first of them.
template <Encoding encoding, int kTokens, typename Codes>
inline void add_group(const Codes& codes, const GroupScales<encoding>& scales, const std::int8_t* x,
                      const A8Block* blocks, __m256 (&acc)[kTokens][2]) {
  __m256i isum[kTokens][2];
  if constexpr (A8Form<encoding>::kMagnitudes) {
    dot_magnitudes<encoding>(codes, scales, x, isum);
  } else {
    dot_codes<encoding>(codes, scales, x, isum);
  }
  CRIA_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    CRIA_UNROLL
    for (int h = 0; h < 2; ++h) {
      acc[t][h] = finish_group<encoding>(scales, blocks[t], isum[t][h], h, acc[t][h]);
    }
  }
}

using TokenSums = float[kPanelRows];

// The sums so far; zero before the first group.
template <int kTokens>
inline void load_sums(const TokenSums* from, bool first, __m256 (&acc)[kTokens][2]) {
  for (int t = 0; t < kTokens; ++t) {
    for (int h = 0; h < 2; ++h) {
      acc[t][h] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(from[t] + 8 * h);
    }
  }
}

template <int kTokens>
inline void store_sums(const __m256 (&acc)[kTokens][2], TokenSums* to) {
  for (int t = 0; t < kTokens; ++t) {
    for (int h = 0; h < 2; ++h) _mm256_storeu_ps(to[t] + 8 * h, acc[t][h]);
  }
}

// kPanels whole panels for a tile of one or two tokens, side by side.
template <Encoding encoding, int kTokens, int kPanels>
void run_packed(const LinearA8Args& args, const std::byte* panels, const PanelLayout& layout,
                const Prefetch* prefetch, std::int64_t first, TokenSums (*sums)[kTokens]) {
  const CodeTables tables = make_tables<encoding>();
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const std::int8_t* x = args.codes + first * n_groups * kColumnGroup;
  const A8Block* blocks = args.blocks + first * n_groups;
  spec::GroupWalk<encoding> walk(layout.scale_shift, 0);
  const std::byte* panel[kPanels];
  __m256 acc[kPanels][kTokens][2];
  for (int p = 0; p < kPanels; ++p) {
    panel[p] = panels + static_cast<std::size_t>(p) * layout.size_bytes;
    for (auto& token : acc[p]) token[0] = token[1] = _mm256_setzero_ps();
  }
  for (std::int64_t g = 0; g < n_groups; ++g, walk.next()) {
    if constexpr (kPanels == 1) ask_for_activations(x, blocks, kTokens, g, n_groups);
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      ask_ahead<encoding>(panel[p], walk, layout, kPanels * layout.size_bytes, prefetch[p]);
      const spec::Group packed = walk.of(panel[p]);
      ExpandedGroup expanded;
      const PackedGroup<encoding> group = {
          group_codes<encoding>(packed, A8Form<encoding>::kOffset, expanded), tables};
      add_group<encoding>(group, load_scales<encoding>(packed), x + g * kTokens * kColumnGroup,
                          blocks + g * kTokens, acc[p]);
    }
  }
  for (int p = 0; p < kPanels; ++p) store_sums(acc[p], sums[p]);
}

// The groups of a chunk for a few tokens of a tile, whose groups lie `stride` blocks apart.
template <Encoding encoding, int kTokens>
void run_chunk(const UnpackedGroup<encoding>* groups, int n, const std::int8_t* x,
               const A8Block* blocks, std::int64_t stride, bool first, TokenSums* sums) {
  __m256 acc[kTokens][2];
  load_sums(sums, first, acc);
  for (int g = 0; g < n; ++g) {
    add_group<encoding>(groups[g], groups[g].scales, x + g * stride * kColumnGroup,
                        blocks + g * stride, acc);
  }
  store_sums(acc, sums);
}

template <Encoding encoding>
inline void unpack_group(const spec::Group& packed, const CodeTables& tables,
                         UnpackedGroup<encoding>& out) {
  ExpandedGroup expanded;
  const PackedGroup<encoding> group = {
      group_codes<encoding>(packed, A8Form<encoding>::kOffset, expanded), tables};
  CRIA_UNROLL
  for (int q = 0; q < kQuads; ++q) {
    for (int p = 0; p < A8Form<encoding>::kPlanes; ++p) {
      for (int h = 0; h < 2; ++h) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(out.codes[q][p][h]), group.load(q, h, p));
      }
    }
  }
  out.scales = load_scales<encoding>(packed);
}

// The rest of a tile, fewer tokens than kTileTokens.
template <Encoding encoding>
void run_chunk_rest(const UnpackedGroup<encoding>* groups, int n, const std::int8_t* x,
                    const A8Block* blocks, std::int64_t stride, int n_tokens, bool first,
                    TokenSums* sums) {
  switch (n_tokens) {
    case 1:
      return run_chunk<encoding, 1>(groups, n, x, blocks, stride, first, sums);
    case 2:
      return run_chunk<encoding, 2>(groups, n, x, blocks, stride, first, sums);
    case 3:
      return run_chunk<encoding, 3>(groups, n, x, blocks, stride, first, sums);
    default:
      return;
  }
}

// A whole panel for a tile of tokens: each chunk of columns is unpacked once for all of them.
template <Encoding encoding>
void run_unpacked(const LinearA8Args& args, const spec::Panel& panel, std::int64_t first,
                  int n_tokens, TokenSums* sums) {
  const CodeTables tables = make_tables<encoding>();
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  UnpackedGroup<encoding> chunk[kChunkGroups];
  for (std::int64_t g = 0; g < n_groups; g += kChunkGroups) {
    const int n = n_groups - g < kChunkGroups ? static_cast<int>(n_groups - g) : kChunkGroups;
    for (int i = 0; i < n; ++i) {
      unpack_group<encoding>(spec::group_at<encoding>(panel, g + i), tables, chunk[i]);
    }
    const std::int64_t at = first * n_groups + g * n_tokens;
    const std::int8_t* x = args.codes + at * kColumnGroup;
    const A8Block* blocks = args.blocks + at;
    int t = 0;
    for (; t + kTileTokens <= n_tokens; t += kTileTokens) {
      run_chunk<encoding, kTileTokens>(chunk, n, x + t * kColumnGroup, blocks + t, n_tokens, g == 0,
                                       sums + t);
    }
    run_chunk_rest<encoding>(chunk, n, x + t * kColumnGroup, blocks + t, n_tokens, n_tokens - t,
                             g == 0, sums + t);
  }
}

// Rows [row, row + n_rows) of the output for the tokens [first, first + n_tokens).
inline void write_sums(const LinearA8Args& args, const TokenSums* sums, std::int64_t row,
                       std::int64_t first, int n_tokens) {
  const std::int64_t left = args.n_rows - row;
  const int n_rows = left < kPanelRows ? static_cast<int>(left) : kPanelRows;
  for (int t = 0; t < n_tokens; ++t) {
    float* out = args.out + (first + t) * args.out_stride + row;
    if (n_rows == kPanelRows) {
      for (int r = 0; r < kPanelRows; r += 8) {
        const __m256 sum = _mm256_loadu_ps(sums[t] + r);
        _mm256_storeu_ps(out + r,
                         args.accumulate ? _mm256_add_ps(_mm256_loadu_ps(out + r), sum) : sum);
      }
      continue;
    }
    for (int r = 0; r < n_rows; ++r) out[r] = args.accumulate ? out[r] + sums[t][r] : sums[t][r];
  }
}

// Panels that few_tokens reads side by side: as many as its registers are worth. A core asks the
// memory for more when it reads along several sequences at once (measured on a Xeon: 15 GB/s along
// one, 26 along four). Two tokens have enough to do with one.
template <Encoding encoding, int kTokens>
inline constexpr int kStreams = kTokens > 1 ? 1
                                : encoding_spec(encoding).bits == 4 ||
                                        encoding_spec(encoding).bits == 8
                                    ? 4
                                    : 2;

// Whether an AMD core reads panels one after the other instead, asking for nothing. One Zen 4 core,
// 1 token, GB/s: q4 28.6 (four side by side, asked for: 26.8), q8 29.0 (21.7), q4kmin 26.0 (24.5),
// q3k 16.5 (14.0), q2kmin 19.2 (16.4), q6k 18.8 (22.4).
template <Encoding encoding, int kTokens>
inline constexpr bool kOneStream =
    kTokens == 1 && !kExpands<encoding> && encoding != Encoding::kQ6K;

// One or two tokens, which need no unpacking ahead.
template <Encoding encoding, int kTokens>
void few_tokens(const LinearA8Args& args, const PanelLayout& layout, std::int64_t first) {
  const std::int64_t n_panels = (args.n_rows + kPanelRows - 1) / kPanelRows;
  const auto panel = [&](std::int64_t p) {
    return args.panels + static_cast<std::size_t>(p) * layout.size_bytes;
  };
  constexpr int kPanels = kStreams<encoding, kTokens>;
  const bool one_stream = is_amd() && kOneStream<encoding, kTokens>;
  Prefetch prefetch[kPanels];
  for (int i = 0; i < kPanels; ++i) {
    prefetch[i] = is_amd() && !one_stream ? amd_prefetch(kPanels, i, layout) : no_prefetch();
  }
  alignas(32) TokenSums sums[kPanels][kTokens];
  std::int64_t p = 0;
  for (; !one_stream && p + kPanels <= n_panels; p += kPanels) {
    run_packed<encoding, kTokens, kPanels>(args, panel(p), layout, prefetch, first, sums);
    for (int i = 0; i < kPanels; ++i) {
      write_sums(args, sums[i], (p + i) * kPanelRows, first, kTokens);
    }
  }
  for (; p < n_panels; ++p) {
    run_packed<encoding, kTokens, 1>(args, panel(p), layout, prefetch, first, sums);
    write_sums(args, sums[0], p * kPanelRows, first, kTokens);
  }
}

template <Encoding encoding>
void linear_a8_of(const LinearA8Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  for (std::int64_t first = 0; first < args.n_tokens; first += kTokenBlock) {
    const std::int64_t left = args.n_tokens - first;
    const int n = left < kTokenBlock ? static_cast<int>(left) : kTokenBlock;
    if (n == 1) {
      few_tokens<encoding, 1>(args, layout, first);
      continue;
    }
    if (n == 2) {
      few_tokens<encoding, 2>(args, layout, first);
      continue;
    }
    const std::byte* panel = args.panels;
    for (std::int64_t row = 0; row < args.n_rows; row += kPanelRows, panel += layout.size_bytes) {
      alignas(32) TokenSums sums[kTokenBlock];
      run_unpacked<encoding>(args, spec::panel_at(panel, layout), first, n, sums);
      write_sums(args, sums, row, first, n);
    }
  }
}

}  // namespace
}  // namespace avx2

void linear_a8_avx2(const LinearA8Args& args) {
  switch (kernel_form(args.encoding)) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return avx2::linear_a8_of<Encoding::name>(args);
    CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
    default:
      return;  // dense weights have no a8 form
  }
}

}  // namespace cria

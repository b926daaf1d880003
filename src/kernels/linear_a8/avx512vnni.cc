// linear_a8 with AVX-512 VNNI.
//
// vpdpbusd adds four products of unsigned and signed bytes to each 32-bit lane: a plane of a panel
// (16 rows of 4 columns) times a quad of activations, which it broadcasts from memory by itself.
// Codes are brought to unsigned bytes u = value + offset; the sum starts at what the offset adds,
// negated, so that taking it off costs nothing:
//
//   sum value x = -offset * sum x + sum u x
//
// Up to eight tokens share a register tile: 8 sums of 32 bits and 8 of float, and one plane.
#include "kernels/isa.h"
#include "kernels/panel/avx512.h"

namespace cria {
namespace avx512 {
namespace {

constexpr int kTileTokens = 8;
// Weights of one panel that are kept unpacked while the tokens of a tile go by: 8 groups are 4 KiB
// of codes.
constexpr int kChunkGroups = kSuperBlock / kColumnGroup;

template <Encoding encoding>
struct A8Form {
  static constexpr EncodingSpec kSpec = encoding_spec(encoding);
  static constexpr bool kSuperScale = kSpec.scale == ScaleKind::kSuper;
  static constexpr int kBlocks = kColumnGroup / kSpec.block;
  static constexpr int kOffset = kSpec.codebook == Codebook::kSigned  ? 1 << (kSpec.bits - 1)
                                 : kSpec.codebook == Codebook::kIq4Nl ? 128
                                 : kSpec.codebook == Codebook::kMxfp4 ? 12
                                                                      : 0;
};

// The codebook plus its offset, for vpshufb; not used by linear codes.
template <Encoding encoding>
inline __m512i code_table() {
  using Form = A8Form<encoding>;
  if constexpr (Form::kSpec.codebook == Codebook::kIq4Nl ||
                Form::kSpec.codebook == Codebook::kMxfp4) {
    const auto* values = reinterpret_cast<const __m128i*>(codebook_values(Form::kSpec.codebook));
    return repeat_128(
        _mm_add_epi8(_mm_loadu_si128(values), _mm_set1_epi8(static_cast<char>(Form::kOffset))));
  } else {
    return _mm512_setzero_si512();
  }
}

// Unsigned codes of a quad, from the panel as it is stored or from a chunk that was unpacked.
template <Encoding encoding>
struct PackedGroup {
  const std::uint8_t* group;
  __m512i table;

  __m512i load(int quad) const {  // `quad` is a constant once loops are unrolled
    constexpr EncodingSpec kSpec = encoding_spec(encoding);
    const __m512i codes = load_quad<kSpec.bits>(group, quad);
    if constexpr (kSpec.codebook == Codebook::kIq4Nl || kSpec.codebook == Codebook::kMxfp4) {
      return _mm512_shuffle_epi8(table, codes);
    } else {
      return codes;
    }
  }
};

struct UnpackedGroup {
  alignas(64) std::uint8_t codes[kQuads][64];

  __m512i load(int quad) const { return load_512(codes[quad]); }
};

// What a group has besides codes.
template <Encoding encoding>
struct GroupScales {
  __m512i block[A8Form<encoding>::kBlocks];      // kSuper: small scales
  __m512i block_min[A8Form<encoding>::kBlocks];  // kSuper: small mins
  __m512 scale;
  __m512 min;
};

template <Encoding encoding>
inline GroupScales<encoding> load_scales(const spec::PanelRegions& panel, std::int64_t group) {
  using Form = A8Form<encoding>;
  GroupScales<encoding> out;
  out.scale = load_scale<encoding>(panel, group);
  if constexpr (Form::kSpec.has_min) out.min = load_min<encoding>(panel, group);
  if constexpr (Form::kSuperScale) {
    CRIA_UNROLL
    for (int b = 0; b < Form::kBlocks; ++b) {
      const std::int64_t at = (group * Form::kBlocks + b) * kPanelRows;
      out.block[b] = load_signed(panel.scales + at);
      if constexpr (Form::kSpec.has_min) out.block_min[b] = load_unsigned(panel.mins + at);
    }
  }
  return out;
}

// Sum of the activations of block b of a group.
template <Encoding encoding>
inline int block_sum(const A8Block& block, int b) {
  return A8Form<encoding>::kBlocks == 1 ? block.sums[0] + block.sums[1] : block.sums[b];
}

// Products of the columns of block b, for tokens whose codes follow each other.
template <Encoding encoding, int kTokens, typename Codes>
inline void dot_block(const Codes& codes, int b, const std::int8_t* x, const A8Block* blocks,
                      __m512i (&sum)[kTokens]) {
  using Form = A8Form<encoding>;
  constexpr int kRun = Form::kSpec.block / 4;
  CRIA_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    sum[t] = _mm512_set1_epi32(-Form::kOffset * block_sum<encoding>(blocks[t], b));
  }
  CRIA_UNROLL
  for (int q = 0; q < kRun; ++q) {
    const __m512i w = codes.load(b * kRun + q);
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      sum[t] =
          _mm512_dpbusd_epi32(sum[t], w, broadcast_32(x + t * kColumnGroup + 4 * (b * kRun + q)));
    }
  }
}

// The part of the mins of a group, for one token.
template <Encoding encoding>
inline __m512 add_min(const GroupScales<encoding>& scales, const A8Block& block, __m512 acc) {
  using Form = A8Form<encoding>;
  const __m512 min = _mm512_mul_ps(scales.min, _mm512_set1_ps(block.scale));
  if constexpr (Form::kSuperScale) {
    __m512i sum = _mm512_setzero_si512();
    CRIA_UNROLL
    for (int b = 0; b < Form::kBlocks; ++b) {
      const __m512i x_sum = _mm512_set1_epi32(block_sum<encoding>(block, b));
      sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(scales.block_min[b], x_sum));
    }
    return _mm512_fnmadd_ps(_mm512_cvtepi32_ps(sum), min, acc);
  } else {
    const auto x_sum = static_cast<float>(block.sums[0] + block.sums[1]);
    return _mm512_fmadd_ps(min, _mm512_set1_ps(x_sum), acc);
  }
}

// One group for a few tokens. `x` and `blocks` are those of the first of them.
template <Encoding encoding, int kTokens, typename Codes>
inline void add_group(const Codes& codes, const GroupScales<encoding>& scales, const std::int8_t* x,
                      const A8Block* blocks, __m512 (&acc)[kTokens]) {
  using Form = A8Form<encoding>;
  __m512i sum[kTokens];
  CRIA_UNROLL
  for (int b = 0; b < Form::kBlocks; ++b) {
    __m512i part[kTokens];
    dot_block<encoding>(codes, b, x, blocks, part);
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      if constexpr (Form::kSuperScale) part[t] = _mm512_mullo_epi32(part[t], scales.block[b]);
      sum[t] = b == 0 ? part[t] : _mm512_add_epi32(sum[t], part[t]);
    }
  }
  CRIA_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    const __m512 scale = _mm512_mul_ps(scales.scale, _mm512_set1_ps(blocks[t].scale));
    acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t]), scale, acc[t]);
    if constexpr (Form::kSpec.has_min) acc[t] = add_min<encoding>(scales, blocks[t], acc[t]);
  }
}

using TokenSums = float[kPanelRows];

// A whole panel for up to eight tokens: unpacking goes straight into registers.
template <Encoding encoding, int kTokens>
void run_packed(const LinearA8Args& args, const spec::PanelRegions& panel, std::int64_t first,
                TokenSums* sums) {
  const __m512i table = code_table<encoding>();
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const std::int8_t* x = args.codes + first * n_groups * kColumnGroup;
  const A8Block* blocks = args.blocks + first * n_groups;
  __m512 acc[kTokens];
  CRIA_UNROLL
  for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
  for (std::int64_t g = 0; g < n_groups; ++g) {
    const PackedGroup<encoding> group = {panel.codes + g * 64 * encoding_spec(encoding).bits,
                                         table};
    add_group<encoding>(group, load_scales<encoding>(panel, g), x + g * kTokens * kColumnGroup,
                        blocks + g * kTokens, acc);
  }
  CRIA_UNROLL
  for (int t = 0; t < kTokens; ++t) _mm512_storeu_ps(sums[t], acc[t]);
}

// One chunk of a panel for the tokens of a tile.
template <Encoding encoding>
struct Chunk {
  UnpackedGroup groups[kChunkGroups];
  GroupScales<encoding> scales[kChunkGroups];
  int n_groups;

  void unpack(const spec::PanelRegions& panel, std::int64_t first, __m512i table) {
    for (int g = 0; g < n_groups; ++g) {
      const PackedGroup<encoding> group = {
          panel.codes + (first + g) * 64 * encoding_spec(encoding).bits, table};
      CRIA_UNROLL
      for (int q = 0; q < kQuads; ++q) _mm512_storeu_si512(groups[g].codes[q], group.load(q));
      scales[g] = load_scales<encoding>(panel, first + g);
    }
  }

  // Tokens whose groups lie `stride` blocks apart; `fresh`: the sums start at zero.
  template <int kTokens>
  void run(const std::int8_t* x, const A8Block* blocks, std::int64_t stride, bool fresh,
           TokenSums* sums) const {
    __m512 acc[kTokens];
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      acc[t] = fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(sums[t]);
    }
    for (int g = 0; g < n_groups; ++g) {
      add_group<encoding>(groups[g], scales[g], x + g * stride * kColumnGroup, blocks + g * stride,
                          acc);
    }
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) _mm512_storeu_ps(sums[t], acc[t]);
  }
};

// A whole panel for a tile of tokens: each chunk of columns is unpacked once for all of them.
template <Encoding encoding>
void run_unpacked(const LinearA8Args& args, const spec::PanelRegions& panel, std::int64_t first,
                  int n_tokens, TokenSums* sums) {
  const __m512i table = code_table<encoding>();
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  Chunk<encoding> chunk;
  for (std::int64_t g = 0; g < n_groups; g += kChunkGroups) {
    chunk.n_groups = n_groups - g < kChunkGroups ? static_cast<int>(n_groups - g) : kChunkGroups;
    chunk.unpack(panel, g, table);
    const std::int64_t at = first * n_groups + g * n_tokens;
    int t = 0;
    const auto run = [&]<int kTokens>() {
      for (; t + kTokens <= n_tokens; t += kTokens) {
        chunk.template run<kTokens>(args.codes + (at + t) * kColumnGroup, args.blocks + at + t,
                                    n_tokens, g == 0, sums + t);
      }
    };
    run.template operator()<kTileTokens>();
    run.template operator()<4>();
    run.template operator()<2>();
    run.template operator()<1>();
  }
}

template <Encoding encoding>
void run_tile(const LinearA8Args& args, const spec::PanelRegions& panel, std::int64_t first, int n,
              TokenSums* sums) {
  switch (n) {
#define CRIA_CASE(tokens) \
  case tokens:            \
    return run_packed<encoding, tokens>(args, panel, first, sums);
    CRIA_CASE(1)
    CRIA_CASE(2)
    CRIA_CASE(3)
    CRIA_CASE(4)
    CRIA_CASE(5)
    CRIA_CASE(6)
    CRIA_CASE(7)
    CRIA_CASE(8)
#undef CRIA_CASE
    default:
      return run_unpacked<encoding>(args, panel, first, n, sums);
  }
}

// Rows [row, row + 16) of the output for the tokens [first, first + n_tokens).
inline void write_sums(const LinearA8Args& args, const TokenSums* sums, std::int64_t row,
                       std::int64_t first, int n_tokens) {
  const std::int64_t left = args.n_rows - row;
  for (int t = 0; t < n_tokens; ++t) {
    float* out = args.out + (first + t) * args.out_stride + row;
    if (left >= kPanelRows) {
      const __m512 sum = _mm512_loadu_ps(sums[t]);
      _mm512_storeu_ps(out, args.accumulate ? _mm512_add_ps(_mm512_loadu_ps(out), sum) : sum);
      continue;
    }
    for (int r = 0; r < left; ++r) out[r] = args.accumulate ? out[r] + sums[t][r] : sums[t][r];
  }
}

template <Encoding encoding>
void linear_a8_of(const LinearA8Args& args) {
  const PanelLayout layout = panel_layout(encoding, args.n_cols);
  const std::byte* panel = args.panels;
  for (std::int64_t row = 0; row < args.n_rows; row += kPanelRows, panel += layout.size_bytes) {
    const spec::PanelRegions regions = spec::panel_regions(panel, layout);
    for (std::int64_t first = 0; first < args.n_tokens; first += kA8TileTokens) {
      const std::int64_t left = args.n_tokens - first;
      const int n = static_cast<int>(left < kA8TileTokens ? left : kA8TileTokens);
      alignas(64) TokenSums sums[kA8TileTokens];
      run_tile<encoding>(args, regions, first, n, sums);
      write_sums(args, sums, row, first, n);
    }
  }
}

}  // namespace
}  // namespace avx512

void CRIA_AVX512VNNI_NAME(linear_a8)(const LinearA8Args& args) {
  switch (args.encoding) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return avx512::linear_a8_of<Encoding::name>(args);
    CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
    default:
      return;  // dense weights have no a8 form
  }
}

}  // namespace cria

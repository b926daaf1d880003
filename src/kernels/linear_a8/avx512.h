// What kernels of linear_a8 on 512-bit registers share: how codes become bytes, and how the integer
// sums of a group become floats. Internal linkage throughout, as in panel/generic.h.
#pragma once

#include <type_traits>

#include "kernels/panel/avx2_words.h"
#include "kernels/panel/avx512.h"
#include "kernels/panel/avx512_e8p.h"
#include "kernels/panel/avx512_pairs.h"

namespace cria::avx512 {
namespace {

// All that the work after the dot products depends on.
template <int blocks, bool has_min, bool narrow>
struct ScaleForm {
  static constexpr int kBlocks = blocks;  // of a group; of two, small scales are integers
  static constexpr bool kHasMin = has_min;
  static constexpr bool kNarrow = narrow;  // the products of a block fit into 16 bits
  // The integer sum of a group fits into the mantissa of a float, see below.
  static constexpr bool kInMantissa = blocks == 1 || narrow;
};

template <Encoding encoding>
inline constexpr bool kHasTable = encoding_spec(encoding).codebook == Codebook::kIq4Nl ||
                                  encoding_spec(encoding).codebook == Codebook::kMxfp4;

// What makes unsigned bytes of an encoding's values.
template <Encoding encoding>
inline constexpr int kOffset = encoding_spec(encoding).codebook == Codebook::kSigned
                                   ? 1 << (encoding_spec(encoding).bits - 1)
                               : encoding_spec(encoding).codebook == Codebook::kIq4Nl ? 128
                               : encoding_spec(encoding).codebook == Codebook::kMxfp4 ? 12
                               : encoding_spec(encoding).codebook == Codebook::kE8P   ? 64
                               : encoding == Encoding::kQ4S24                         ? 8
                               : encoding == Encoding::kQ8S24                         ? 128
                                                                                      : 0;

// 16 columns of codes from -4 to 7 give products of at most 16 * 7 * 127; two of those, weighed by
// eight bits, and 32 columns of codes of eight bits, sums below 2^22.
template <Encoding encoding>
using FormOf =
    ScaleForm<kColumnGroup / encoding_spec(encoding).block, encoding_spec(encoding).has_min,
              encoding_spec(encoding).block == 16 && encoding_spec(encoding).bits <= 3>;

// A codebook plus `offset`, for vpshufb; not used by linear codes.
template <Encoding encoding>
inline __m512i code_table(int offset) {
  if constexpr (kHasTable<encoding>) {
    const auto* values =
        reinterpret_cast<const __m128i*>(codebook_values(encoding_spec(encoding).codebook));
    return repeat_128(
        _mm_add_epi8(_mm_loadu_si128(values), _mm_set1_epi8(static_cast<char>(offset))));
  } else {
    return _mm512_setzero_si512();
  }
}

// The unsigned bytes of a quad; `quad` is a constant once loops are unrolled.
template <Encoding encoding>
inline __m512i load_codes(const std::uint8_t* group, int quad, __m512i table) {
  const __m512i codes = load_quad<avx2::kGroupBits<encoding>>(group, quad);
  if constexpr (kHasTable<encoding>) return _mm512_shuffle_epi8(table, codes);
  return codes;
}

#if !defined(CRIA_EMULATE_AVX512)
// Of encodings with codes for several columns.
template <Encoding encoding>
using WordWeights = std::conditional_t<encoding_spec(encoding).codebook == Codebook::kE8P,
                                       E8pWeights<encoding_spec(encoding).bits, kOffset<encoding>>,
                                       PairWeights<encoding_spec(encoding).bits>>;
#endif

// Where the codes of a group are: in the panel, or in `expanded`.
template <Encoding encoding>
inline const std::uint8_t* group_codes(const spec::Group& group, avx2::ExpandedGroup& expanded) {
#if !defined(CRIA_EMULATE_AVX512)
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  if constexpr (kSpec.codebook == Codebook::kE8P) {
    if (has_vbmi_and_gfni()) {
      expand_e8p_vbmi<kSpec.bits, kOffset<encoding>>(group.codes, expanded);
      return expanded.bytes[0];
    }
  }
  if constexpr (kSpec.codebook == Codebook::kPairs) {
    static_assert(kOffset<encoding> == 1 << (pair_code_bits(kSpec.bits) - 1));
    if (has_vbmi_and_gfni()) {
      expand_pairs_vbmi<kSpec.bits>(group.codes, expanded);
      return expanded.bytes[0];
    }
  }
#endif
  return avx2::group_codes<encoding>(group, kOffset<encoding>, expanded);
}

// What a group of a panel has besides codes.
template <typename Form>
struct GroupScales {
  __m512 scale;  // of two blocks: the super scale
  __m512 min;    // of two blocks: the super min
  // Of two blocks, the small scales: 32-bit integers, or, if kNarrow, pairs of 16 bits in [0].
  __m512i block[Form::kBlocks];
  __m512i block_min;  // of two blocks, the small mins, in pairs of 16 bits
};

// Pairs of 16 bits, of two blocks.
inline __m512i pairs(const __m512i* block) {
  const __m512i low = _mm512_and_si512(block[0], _mm512_set1_epi32(0xffff));
  return _mm512_or_si512(low, _mm512_slli_epi32(block[1], 16));
}

template <Encoding encoding>
inline GroupScales<FormOf<encoding>> load_scales(const spec::Group& group) {
  using Form = FormOf<encoding>;
  GroupScales<Form> out;
  if constexpr (Form::kBlocks == 1) {
    out.scale = load_scale<encoding>(group, 0);
    if constexpr (Form::kHasMin) out.min = load_min<encoding>(group, 0);
  } else {
    out.scale = load_super_scale(group);
    if constexpr (Form::kHasMin) out.min = load_super_min(group);
    __m512i mins[2];
    CRIA_UNROLL
    for (int b = 0; b < 2; ++b) {
      out.block[b] = load_signed(spec::scales_of<encoding>(group, b));
      if constexpr (Form::kHasMin) {
        mins[b] = load_unsigned(spec::mins_of<encoding>(group, b));
      }
    }
    if constexpr (Form::kNarrow) out.block[0] = pairs(out.block);
    if constexpr (Form::kHasMin) out.block_min = pairs(mins);
  }
  return out;
}

// The integer sum of a group, from those of its blocks.
template <typename Form>
inline __m512i weigh_blocks(const __m512i* part, const GroupScales<Form>& scales) {
  if constexpr (Form::kBlocks == 1) {
    return part[0];
  } else if constexpr (Form::kNarrow) {
    return _mm512_madd_epi16(pairs(part), scales.block[0]);
  } else {
    return _mm512_add_epi32(_mm512_mullo_epi32(part[0], scales.block[0]),
                            _mm512_mullo_epi32(part[1], scales.block[1]));
  }
}

// acc += dot * scale * X, the products in the order of the specification.
template <typename Form>
inline __m512 add_scaled(__m512 dot, __m512 scale, __m512 x_scale, __m512 acc) {
  if constexpr (Form::kBlocks == 2) {
    return _mm512_fmadd_ps(dot, _mm512_mul_ps(scale, x_scale), acc);
  }
  return _mm512_fmadd_ps(_mm512_mul_ps(dot, x_scale), scale, acc);
}

// What mins of a group are multiplied by, in all lanes.
struct MinFactors {
  __m512 x_sum;    // of one scale: X times the sum of codes
  __m512i x_sums;  // of two: pairs of sums of codes, in 16 bits,
  __m512 x_scale;  // and X
};

template <typename Form>
inline MinFactors load_min_factors(const A8Block& x) {
  MinFactors out;
  if constexpr (Form::kHasMin && Form::kBlocks == 1) {
    out.x_sum = _mm512_set1_ps(static_cast<float>(x.sums[0] + x.sums[1]) * x.scale);
  }
  if constexpr (Form::kHasMin && Form::kBlocks == 2) {
    out.x_sums = broadcast_32(x.sums);
    out.x_scale = _mm512_set1_ps(x.scale);
  }
  return out;
}

// What a group adds besides its products: mins times the sums of activations.
template <typename Form>
inline __m512 add_min(const GroupScales<Form>& scales, const MinFactors& x, __m512 acc) {
  if constexpr (Form::kHasMin && Form::kBlocks == 1) {
    acc = _mm512_fmadd_ps(x.x_sum, scales.min, acc);
  }
  if constexpr (Form::kHasMin && Form::kBlocks == 2) {
    const __m512i sum = _mm512_madd_epi16(scales.block_min, x.x_sums);
    acc = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(scales.min, x.x_scale), acc);
  }
  return acc;
}

// --- sums as mantissas ---------------------------------------------------------------------------
//
// The scale of activations is X = m 2^k with m of eight values. For |n| < 2^22 the bits of the
// float Z = 1.5 * 2^23 2^k plus n are those of the float Z + n 2^k. An integer sum that starts at
// the bits of Z is at its end a float but for a subtraction, and what it is to be multiplied by, m
// times the scale of the weights, is one of eight registers in memory. So a sum takes one
// multiplication and not two, which would compete with the dot products for the ports that
// multiply.

inline constexpr int kLevels = 1 << (kA8ScaleBits - 1);  // of m: 1, 9/8, ... 15/8

// m times a scale of the weights, of all m.
struct LeveledScale {
  alignas(64) float of[kLevels][kPanelRows];

  void set(__m512 scale) {
    for (int i = 0; i < kLevels; ++i) {
      const __m512 m = _mm512_set1_ps(1.0f + static_cast<float>(i) / kLevels);
      _mm512_storeu_ps(of[i], _mm512_mul_ps(scale, m));
    }
  }
};

// Which of them, as a distance in bytes: the bits behind the exponent.
inline __m512i level_bytes(__m512i x_scale) {
  constexpr int kFirst = 24 - kA8ScaleBits, kLogBytes = 6;
  static_assert(sizeof(LeveledScale::of[0]) == 1 << kLogBytes);
  const __m512i bits = _mm512_and_si512(x_scale, _mm512_set1_epi32((kLevels - 1) << kFirst));
  return _mm512_srli_epi32(bits, kFirst - kLogBytes);
}

// Z of X; of not-a-number, which saturates, not-a-number.
inline __m512 mantissa_start(__m512i x_scale) {
  const __m512i exponent = _mm512_and_si512(x_scale, _mm512_set1_epi32(0x7f800000));
  return _mm512_castsi512_ps(
      _mm512_adds_epi16(exponent, _mm512_set1_epi32((23 << 23) + (1 << 22))));
}

// acc += the sums of a group of a token; those of one block started at the bits of `start`.
template <typename Form>
inline __m512 add_sums(const __m512i* part, const GroupScales<Form>& scales,
                       const LeveledScale& leveled, __m512 start, int level, __m512 acc) {
  static_assert(Form::kInMantissa);
  __m512i sum = part[0];
  if constexpr (Form::kBlocks == 2) {
    sum = _mm512_dpwssd_epi32(_mm512_castps_si512(start), pairs(part), scales.block[0]);
  }
  const __m512 dot = _mm512_sub_ps(_mm512_castsi512_ps(sum), start);
  const auto* scale = reinterpret_cast<const std::byte*>(leveled.of) + level;
  return _mm512_fmadd_ps(dot, _mm512_loadu_ps(reinterpret_cast<const float*>(scale)), acc);
}

// The same with sums that started at integers.
template <typename Form>
inline __m512 add_sums(const __m512i* part, const GroupScales<Form>& scales, __m512 x_scale,
                       __m512 acc) {
  const __m512 dot = _mm512_cvtepi32_ps(weigh_blocks<Form>(part, scales));
  return add_scaled<Form>(dot, scales.scale, x_scale, acc);
}

// A group of a token, of sums that started at integers.
template <typename Form>
inline __m512 add_group(const __m512i* part, const GroupScales<Form>& scales, const A8Block& x,
                        __m512 acc) {
  acc = add_sums<Form>(part, scales, _mm512_set1_ps(x.scale), acc);
  return add_min<Form>(scales, load_min_factors<Form>(x), acc);
}

// --- many tokens ---------------------------------------------------------------------------------

// Columns that are kept unpacked while the tokens go by: 4 KiB of codes a panel.
inline constexpr int kChunkGroups = kSuperBlock / kColumnGroup;
inline constexpr int kChunkPanels = 4;  // at most, that are unpacked together

// Codes as unsigned bytes.
template <typename Form>
struct PanelChunk {
  alignas(64) std::uint8_t codes[kChunkGroups][kQuads][64];
  GroupScales<Form> scales[kChunkGroups];
  LeveledScale leveled[Form::kInMantissa ? kChunkGroups : 1];
};

// `n_groups` of a panel from `first` on.
template <Encoding encoding>
inline void unpack(const spec::Panel& panel, std::int64_t first, int n_groups, __m512i table,
                   PanelChunk<FormOf<encoding>>& out) {
  for (int g = 0; g < n_groups; ++g) {
    const spec::Group group = spec::group_at<encoding>(panel, first + g);
    avx2::ExpandedGroup expanded;
    const std::uint8_t* codes = group_codes<encoding>(group, expanded);
    CRIA_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      _mm512_storeu_si512(out.codes[g][q], load_codes<encoding>(codes, q, table));
    }
    out.scales[g] = load_scales<encoding>(group);
    if constexpr (FormOf<encoding>::kInMantissa) out.leveled[g].set(out.scales[g].scale);
  }
}

using TokenSums = float[kPanelRows];

// Rows [row, row + 16) of the output for tokens [first, first + n_tokens).
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

// An output of more than that goes past the caches, which could not keep it until it is read but
// would lose the activations for it. The rows of a block being a large power of two apart, its
// lines also compete for few places: stored as usual, they took a third of a prompt's time.
inline constexpr std::int64_t kStreamedBytes = std::int64_t{4} << 20;

inline bool streams_output(const LinearA8Args& args) {
  return !args.accumulate && args.out_stride % kPanelRows == 0 &&
         reinterpret_cast<std::uintptr_t>(args.out) % 64 == 0 &&
         args.n_tokens * args.out_stride * static_cast<std::int64_t>(sizeof(float)) >=
             kStreamedBytes;
}

struct OutputBlock {
  std::int64_t row;
  std::int64_t first;  // token
  int n_tokens;
};

// Panels from a row on, for some tokens, token by token: sums[panel][token]. Streamed stores are
// ordered by an sfence, which is the caller's.
template <int kTokens>
inline void write_block(const LinearA8Args& args, const TokenSums (*sums)[kTokens], int n_panels,
                        const OutputBlock& block) {
  const bool streams = streams_output(args);
  for (int t = 0; t < block.n_tokens; ++t) {
    for (int p = 0; p < n_panels; ++p) {
      const std::int64_t row = block.row + p * kPanelRows;
      if (streams && row + kPanelRows <= args.n_rows) {
        float* out = args.out + (block.first + t) * args.out_stride + row;
        _mm512_stream_ps(out, _mm512_loadu_ps(sums[p][t]));
      } else {
        write_sums(args, sums[p] + t, row, block.first + t, 1);
      }
    }
  }
}

}  // namespace
}  // namespace cria::avx512

// linear_a8 with AVX-512 VNNI: what it does for any number of tokens, where sums start and the
// products of a group. Internal linkage throughout, as in panel/generic.h.
#pragma once

#include "kernels/linear_a8/avx512.h"
#include "kernels/panel/prefetch.h"

namespace cria::avx512 {
namespace {

// Where the sums of block b start: what the offset of the codes adds, negated, above `bits`. Made
// of both half sums at once: through integer registers it is six operations a token.
template <Encoding encoding>
inline __m512i start_of(__m512i x_sums, __m512i bits, int b) {
  constexpr int kBlocks = FormOf<encoding>::kBlocks;
  if constexpr (kOffset<encoding> == 0) return bits;
  constexpr int kFactor = -kOffset<encoding> & 0xffff;
  const int low = kBlocks == 1 || b == 0 ? kFactor : 0;
  const int high = kBlocks == 1 || b == 1 ? kFactor << 16 : 0;
  return _mm512_dpwssd_epi32(bits, x_sums, _mm512_set1_epi32(high | low));
}

// Elsewhere than on AMD, measured from memory, two Xeon cores, q4, 1 token, GB/s a core: 512 bytes
// ahead 13.4 to 13.9, 1024 12.9 to 14.0, 2048 13.9 to 14.5, 4096 13.3; into the second-level cache
// only 12.0 to 13.6.
inline avx2::Prefetch prefetch_of(int n_panels, int panel, const PanelLayout& layout) {
  using avx2::Prefetch;
  return avx2::is_amd() ? avx2::amd_prefetch(n_panels, panel, layout)
                        : Prefetch{Prefetch::Into::kFirstLevel, 2048};
}

// Dot products of a group: `part` as [panel][token][block], from start_at(token, block) on.
template <Encoding encoding, int kPanels, int kTokens>
inline void dot_group(const std::uint8_t* const* codes, __m512i table, const std::int8_t* x,
                      const auto& start_at,
                      __m512i (&part)[kPanels][kTokens][FormOf<encoding>::kBlocks]) {
  using Form = FormOf<encoding>;
  constexpr int kRun = kQuads / Form::kBlocks;
  CRIA_UNROLL
  for (int b = 0; b < Form::kBlocks; ++b) {
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const __m512i start = start_at(t, b);
      CRIA_UNROLL
      for (int p = 0; p < kPanels; ++p) part[p][t][b] = start;
    }
    CRIA_UNROLL
    for (int q = b * kRun; q < (b + 1) * kRun; ++q) {
      __m512i quad[kTokens];
      CRIA_UNROLL
      for (int t = 0; t < kTokens; ++t) quad[t] = broadcast_32(x + t * kColumnGroup + 4 * q);
      CRIA_UNROLL
      for (int p = 0; p < kPanels; ++p) {
        const __m512i w = load_codes<encoding>(codes[p], q, table);
        CRIA_UNROLL
        for (int t = 0; t < kTokens; ++t) {
          part[p][t][b] = _mm512_dpbusd_epi32(part[p][t][b], w, quad[t]);
        }
      }
    }
  }
}

// Of the tokens of a tile to a chunk of columns: [kind][group][token].
struct Starts {
  enum Kind {
    kSumOfBlock0,  // where an integer sum starts
    kSumOfBlock1,
    kBits,   // float: mantissa_start, for sums that are made in mantissas
    kLevel,  // level_bytes, for those
    kXSum,   // float: see MinFactors
    kKinds
  };
  static constexpr int kSize = kChunkGroups * static_cast<int>(kA8TileTokens);

  std::int32_t of[kKinds][kSize];

  static __m512i broadcast(const std::int32_t* starts, int kind) {
    return broadcast_32(starts + kind * kSize);
  }
};

// 16 blocks.
template <Encoding encoding, bool kInMantissa>
inline void set_16_starts(const A8Block* blocks, std::int32_t* out) {
  using Form = FormOf<encoding>;
  alignas(64) constexpr std::uint32_t kScales[16] = {0,  2,  4,  6,  8,  10, 12, 14,
                                                     16, 18, 20, 22, 24, 26, 28, 30};
  constexpr bool kNeedsXSum = Form::kHasMin && Form::kBlocks == 1;
  const auto put = [out](int kind, __m512i v) {
    _mm512_storeu_si512(out + kind * Starts::kSize, v);
  };
  const __m512i scales_at = load_512(kScales);
  const __m512i sums_at = _mm512_add_epi32(scales_at, _mm512_set1_epi32(1));
  const __m512i low = load_512(blocks), high = load_512(blocks + 8);
  const __m512i x_sums = _mm512_permutex2var_epi32(low, sums_at, high);
  __m512i x_scale, above = _mm512_setzero_si512();
  if constexpr (kInMantissa || kNeedsXSum) {
    x_scale = _mm512_permutex2var_epi32(low, scales_at, high);
  }
  if constexpr (kInMantissa) {
    const __m512i bits = _mm512_castps_si512(mantissa_start(x_scale));
    if constexpr (Form::kBlocks == 1) above = bits;
    put(Starts::kBits, bits);
    put(Starts::kLevel, level_bytes(x_scale));
  }
  for (int b = 0; b < Form::kBlocks; ++b) {
    put(Starts::kSumOfBlock0 + b, start_of<encoding>(x_sums, above, b));
  }
  if constexpr (kNeedsXSum) {
    const __m512i sum = _mm512_madd_epi16(x_sums, _mm512_set1_epi16(1));
    const __m512 x_sum = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_castsi512_ps(x_scale));
    put(Starts::kXSum, _mm512_castps_si512(x_sum));
  }
}

// `n` blocks that follow each other.
template <Encoding encoding, bool kInMantissa>
inline void set_starts(const A8Block* blocks, int n, Starts& out) {
  int i = 0;
  for (; i + 16 <= n; i += 16) set_16_starts<encoding, kInMantissa>(blocks + i, out.of[0] + i);
  if (i == n) return;
  A8Block padded[16] = {};
  std::memcpy(padded, blocks + i, sizeof(A8Block) * static_cast<std::size_t>(n - i));
  set_16_starts<encoding, kInMantissa>(padded, out.of[0] + i);
}

// What mins are multiplied by, of a token.
template <typename Form>
inline MinFactors min_factors(const std::int32_t* starts, const A8Block& block) {
  if constexpr (Form::kBlocks == 2) return load_min_factors<Form>(block);
  MinFactors out;
  if constexpr (Form::kHasMin) {
    out.x_sum = _mm512_castsi512_ps(Starts::broadcast(starts, Starts::kXSum));
  }
  return out;
}

}  // namespace
}  // namespace cria::avx512

// linear_a8 with AVX-512 VNNI.
//
// vpdpbusd adds four products of unsigned and signed bytes to each 32-bit lane: a plane of a panel
// (16 rows of 4 columns) times a quad of activations, broadcast from memory. Codes are brought to
// unsigned bytes u = value + offset; the sum starts at what the offset adds, negated, so that
// taking it off costs nothing:
//
//   sum value x = -offset * sum x + sum u x
//
// and, of many tokens, at the bits of a float above that, so that becoming one costs a subtraction
// (avx512.h).
//
// One or two tokens: codes go from memory through registers, up to four panels side by side, which
// is as many streams as one core needs to read at its limit. Some tokens, as of a step that
// verifies: likewise, two panels side by side, with the float sums in the first-level cache, so
// that the registers are there for the integer sums of two panels and eight tokens. Many tokens: a
// chunk of columns is unpacked once for up to 128 tokens.
#include <algorithm>

#include "kernels/isa.h"
#include "kernels/linear_a8/avx512.h"
#include "kernels/panel/prefetch.h"

namespace cria {
namespace avx512 {
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

// --- few tokens ----------------------------------------------------------------------------------

// Elsewhere than on AMD, measured from memory, two Xeon cores, q4, 1 token, GB/s a core: 512 bytes
// ahead 13.4 to 13.9, 1024 12.9 to 14.0, 2048 13.9 to 14.5, 4096 13.3; into the second-level cache
// only 12.0 to 13.6.
inline avx2::Prefetch prefetch_of(int n_panels) {
  using avx2::Prefetch;
  return avx2::is_amd() ? avx2::amd_prefetch(n_panels)
                        : Prefetch{Prefetch::Into::kFirstLevel, 2048};
}

// Dot products of a group: `part` as [panel][token][block].
template <Encoding encoding, int kPanels, int kTokens>
inline void dot_group(const std::uint8_t* const* codes, __m512i table, const std::int8_t* x,
                      const A8Block* blocks,
                      __m512i (&part)[kPanels][kTokens][FormOf<encoding>::kBlocks]) {
  using Form = FormOf<encoding>;
  constexpr int kRun = kQuads / Form::kBlocks;
  CRIA_UNROLL
  for (int b = 0; b < Form::kBlocks; ++b) {
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const __m512i start =
          start_of<encoding>(broadcast_32(blocks[t].sums), _mm512_setzero_si512(), b);
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

// Whole panels that follow each other, for all (few) tokens of a call.
template <Encoding encoding, int kPanels, int kTokens>
void run_few(const LinearA8Args& args, const PanelLayout& layout, std::int64_t row) {
  using Form = FormOf<encoding>;
  const __m512i table = code_table<encoding>(kOffset<encoding>);
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  spec::PanelRegions panels[kPanels];
  __m512 acc[kPanels][kTokens];
  const std::byte* first =
      args.panels + static_cast<std::size_t>(row / kPanelRows) * layout.size_bytes;
  for (int p = 0; p < kPanels; ++p) {
    panels[p] =
        spec::panel_regions(first + static_cast<std::size_t>(p) * layout.size_bytes, layout);
    for (int t = 0; t < kTokens; ++t) acc[p][t] = _mm512_setzero_ps();
  }
  avx2::ask_for_scales(first, layout, kPanels);
  const avx2::Prefetch prefetch = prefetch_of(kPanels);
  for (std::int64_t g = 0; g < n_groups; ++g) {
    const A8Block* blocks = args.blocks + g * kTokens;
    avx2::ExpandedGroup expanded[kPanels];
    const std::uint8_t* codes[kPanels];
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      codes[p] = group_codes<encoding>(panels[p], g, expanded[p]);
      avx2::ask_for_codes<encoding>(panels[p], g, n_groups, kPanels * layout.size_bytes, prefetch);
    }
    __m512i part[kPanels][kTokens][Form::kBlocks];
    dot_group<encoding, kPanels, kTokens>(codes, table, args.codes + g * kTokens * kColumnGroup,
                                          blocks, part);
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      const GroupScales<Form> scales = load_scales<encoding>(panels[p], g);
      CRIA_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        acc[p][t] = add_group<Form>(part[p][t], scales, blocks[t], acc[p][t]);
      }
    }
  }
  alignas(64) TokenSums sums[kTokens];
  for (int p = 0; p < kPanels; ++p) {
    for (int t = 0; t < kTokens; ++t) _mm512_storeu_ps(sums[t], acc[p][t]);
    write_sums(args, sums, row + p * kPanelRows, 0, kTokens);
  }
}

template <Encoding encoding, int kPanels, int kTokens>
void run_few_rows(const LinearA8Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  std::int64_t row = 0;
  for (; row + (kPanels - 1) * kPanelRows < args.n_rows; row += kPanels * kPanelRows) {
    run_few<encoding, kPanels, kTokens>(args, layout, row);
  }
  for (; row < args.n_rows; row += kPanelRows) run_few<encoding, 1, kTokens>(args, layout, row);
}

// --- some tokens ---------------------------------------------------------------------------------

// All of a tile. From memory, two cores, q4, GB/s of pairs, of chunks and of AMX: 16
// tokens 9.8, 8.0, 9.1; 24 tokens 7.4, 7.0, 6.6; 32 tokens 5.9, 5.6, 6.6.
constexpr int kSomeTokens = kA8TileTokens;

// A group of two panels.
template <Encoding encoding>
struct PairGroup {
  avx2::ExpandedGroup expanded[2];
  const std::uint8_t* codes[2];
  const spec::PanelRegions* panels;
  std::int64_t index;
};

// sums[panel][t] += the group's, for t < kTokens. Not inlined, and scales are loaded late: else
// integer sums leave their registers.
template <Encoding encoding, int kTokens>
[[gnu::noinline]] void add_pair(const PairGroup<encoding>& group, __m512i table,
                                const std::int8_t* x, const A8Block* blocks,
                                TokenSums* const* sums) {
  using Form = FormOf<encoding>;
  __m512i part[2][kTokens][Form::kBlocks];
  dot_group<encoding, 2, kTokens>(group.codes, table, x, blocks, part);
  CRIA_UNROLL
  for (int p = 0; p < 2; ++p) {
    const GroupScales<Form> scales = load_scales<encoding>(group.panels[p], group.index);
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const __m512 sum = _mm512_loadu_ps(sums[p][t]);
      _mm512_storeu_ps(sums[p][t], add_group<Form>(part[p][t], scales, blocks[t], sum));
    }
  }
}

// `next`: from these panels to those that are read next, in bytes.
template <Encoding encoding>
inline void load_pair(const spec::PanelRegions* panels, std::int64_t g, std::int64_t n_groups,
                      std::size_t next, const avx2::Prefetch& prefetch,
                      PairGroup<encoding>& group) {
  group.panels = panels;
  group.index = g;
  CRIA_UNROLL
  for (int p = 0; p < 2; ++p) {
    group.codes[p] = group_codes<encoding>(panels[p], g, group.expanded[p]);
    avx2::ask_for_codes<encoding>(panels[p], g, n_groups, next, prefetch);
  }
}

// Two panels from `row` on; of the last one alone, both are the same.
template <Encoding encoding>
void run_pair(const LinearA8Args& args, const PanelLayout& layout, std::int64_t row, int n_panels) {
  // With two blocks a group there are twice the sums.
  constexpr int kMost = 8 / FormOf<encoding>::kBlocks;
  const __m512i table = code_table<encoding>(kOffset<encoding>);
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const int n_tokens = static_cast<int>(args.n_tokens);
  const std::byte* first =
      args.panels + static_cast<std::size_t>(row / kPanelRows) * layout.size_bytes;
  spec::PanelRegions panels[2];
  for (int p = 0; p < 2; ++p) {
    panels[p] = spec::panel_regions(first + (p < n_panels ? p : 0) * layout.size_bytes, layout);
  }
  alignas(64) TokenSums acc[2][kSomeTokens] = {};
  avx2::ask_for_scales(first, layout, n_panels);
  const avx2::Prefetch prefetch = prefetch_of(2);
  for (std::int64_t g = 0; g < n_groups; ++g) {
    PairGroup<encoding> group;
    load_pair<encoding>(panels, g, n_groups, 2 * layout.size_bytes, prefetch, group);
    const std::int8_t* x = args.codes + g * n_tokens * kColumnGroup;
    const A8Block* blocks = args.blocks + g * n_tokens;
    int t = 0;
    const auto add = [&]<int kTokens>() {
      TokenSums* const sums[2] = {acc[0] + t, acc[1] + t};
      add_pair<encoding, kTokens>(group, table, x + t * kColumnGroup, blocks + t, sums);
      t += kTokens;
    };
    while (t + kMost <= n_tokens) add.template operator()<kMost>();
    if (kMost > 4 && t + 4 <= n_tokens) add.template operator()<4>();
    if (t + 2 <= n_tokens) add.template operator()<2>();
    if (t < n_tokens) add.template operator()<1>();
  }
  for (int p = 0; p < n_panels; ++p) {
    write_sums(args, acc[p], row + p * kPanelRows, 0, n_tokens);
  }
}

template <Encoding encoding>
void run_pairs(const LinearA8Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  for (std::int64_t row = 0; row < args.n_rows; row += 2 * kPanelRows) {
    run_pair<encoding>(args, layout, row, row + kPanelRows < args.n_rows ? 2 : 1);
  }
}

// --- many tokens ---------------------------------------------------------------------------------

constexpr int kTileTokens = 6;
constexpr int kPassTokens = 4 * kA8TileTokens;

// What the tokens of a tile bring to a chunk besides codes.
struct Starts {
  std::int32_t of[kChunkGroups][2][kA8TileTokens];  // of sums of block 0 and 1
  float bits[kChunkGroups][kA8TileTokens];          // mantissa_start, or X if not kInMantissa
  std::int32_t level[kChunkGroups][kA8TileTokens];  // level_bytes
  float x_sum[kChunkGroups][kA8TileTokens];         // see MinFactors
};

template <Encoding encoding>
inline void set_starts(const A8Block* blocks, int n_groups, int n_tokens, Starts& out) {
  using Form = FormOf<encoding>;
  constexpr int kLanes = 16;
  alignas(64) constexpr std::uint32_t kScales[kLanes] = {0,  2,  4,  6,  8,  10, 12, 14,
                                                         16, 18, 20, 22, 24, 26, 28, 30};
  const __m512i scales_at = load_512(kScales);
  const __m512i sums_at = _mm512_add_epi32(scales_at, _mm512_set1_epi32(1));
  for (int g = 0; g < n_groups; ++g, blocks += n_tokens) {
    for (int t = 0; t < n_tokens; t += kLanes) {
      A8Block padded[kLanes] = {};
      const A8Block* from = blocks + t;
      if (n_tokens - t < kLanes) {
        from = static_cast<const A8Block*>(
            std::memcpy(padded, from, sizeof(A8Block) * static_cast<std::size_t>(n_tokens - t)));
      }
      const __m512i low = load_512(from), high = load_512(from + kLanes / 2);
      const __m512i x_scale = _mm512_permutex2var_epi32(low, scales_at, high);
      const __m512i x_sums = _mm512_permutex2var_epi32(low, sums_at, high);
      __m512i above = _mm512_setzero_si512();
      if constexpr (Form::kInMantissa) {
        const __m512 bits = mantissa_start(x_scale);
        if constexpr (Form::kBlocks == 1) above = _mm512_castps_si512(bits);
        _mm512_storeu_ps(out.bits[g] + t, bits);
        _mm512_storeu_si512(out.level[g] + t, level_bytes(x_scale));
      } else {
        _mm512_storeu_si512(out.bits[g] + t, x_scale);
      }
      for (int b = 0; b < Form::kBlocks; ++b) {
        _mm512_storeu_si512(out.of[g][b] + t, start_of<encoding>(x_sums, above, b));
      }
      if constexpr (Form::kHasMin && Form::kBlocks == 1) {
        const __m512i sum = _mm512_madd_epi16(x_sums, _mm512_set1_epi16(1));
        _mm512_storeu_ps(out.x_sum[g] + t,
                         _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_castsi512_ps(x_scale)));
      }
    }
  }
}

// A chunk of columns for the tokens of a tile.
struct TileChunk {
  int n_groups;
  const std::int8_t* x;   // [n_groups][n_tokens][32]
  const A8Block* blocks;  // [n_groups][n_tokens]
  int n_tokens;
  const Starts& starts;
};

// sums[p][t .. t + kTokens) += the chunk's, for panels p < kPanels.
template <typename Form, int kPanels, int kTokens>
void add_chunk(const TileChunk& chunk, const PanelChunk<Form>* panels, int t,
               TokenSums* const* sums) {
  const int n_groups = chunk.n_groups;
  const std::int64_t stride = chunk.n_tokens;
  const std::int8_t* x = chunk.x + t * kColumnGroup;
  const A8Block* blocks = chunk.blocks + t;
  const std::int32_t* starts = chunk.starts.of[0][0] + t;
  const float* bits = chunk.starts.bits[0] + t;
  const std::int32_t* levels = chunk.starts.level[0] + t;
  const float* x_sums = chunk.starts.x_sum[0] + t;
  __m512 acc[kPanels][kTokens];
  CRIA_UNROLL
  for (int p = 0; p < kPanels; ++p) {
    CRIA_UNROLL
    for (int i = 0; i < kTokens; ++i) acc[p][i] = _mm512_loadu_ps(sums[p][t + i]);
  }
  for (int g = 0; g < n_groups; ++g) {
    __m512i part[kTokens][kPanels][Form::kBlocks];
    CRIA_UNROLL
    for (int b = 0; b < Form::kBlocks; ++b) {
      CRIA_UNROLL
      for (int i = 0; i < kTokens; ++i) {
        CRIA_UNROLL
        for (int p = 0; p < kPanels; ++p) {
          part[i][p][b] = broadcast_32(starts + b * kA8TileTokens + i);
        }
      }
      constexpr int kRun = kQuads / Form::kBlocks;
      CRIA_UNROLL
      for (int q = b * kRun; q < (b + 1) * kRun; ++q) {
        __m512i w[kPanels];
        CRIA_UNROLL
        for (int p = 0; p < kPanels; ++p) w[p] = load_512(panels[p].codes[g][q]);
        CRIA_UNROLL
        for (int i = 0; i < kTokens; ++i) {
          const __m512i quad = broadcast_32(x + i * kColumnGroup + 4 * q);
          CRIA_UNROLL
          for (int p = 0; p < kPanels; ++p) {
            part[i][p][b] = _mm512_dpbusd_epi32(part[i][p][b], w[p], quad);
          }
        }
      }
    }
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      CRIA_UNROLL
      for (int i = 0; i < kTokens; ++i) {
        const __m512 of_token = _mm512_set1_ps(bits[i]);
        const GroupScales<Form>& scales = panels[p].scales[g];
        if constexpr (Form::kInMantissa) {
          acc[p][i] = add_sums<Form>(part[i][p], scales, panels[p].leveled[g], of_token, levels[i],
                                     acc[p][i]);
        } else {
          acc[p][i] = add_sums<Form>(part[i][p], scales, of_token, acc[p][i]);
        }
        MinFactors of_mins;
        if constexpr (Form::kBlocks == 1) {
          of_mins.x_sum = _mm512_set1_ps(x_sums[i]);
        } else {
          of_mins = load_min_factors<Form>(blocks[i]);
        }
        acc[p][i] = add_min<Form>(scales, of_mins, acc[p][i]);
      }
    }
    x += stride * kColumnGroup;
    blocks += stride;
    starts += 2 * kA8TileTokens;
    bits += kA8TileTokens;
    levels += kA8TileTokens;
    x_sums += kA8TileTokens;
  }
  CRIA_UNROLL
  for (int p = 0; p < kPanels; ++p) {
    CRIA_UNROLL
    for (int i = 0; i < kTokens; ++i) _mm512_storeu_ps(sums[p][t + i], acc[p][i]);
  }
}

// The same for some panels, two at a time. A few tokens go through all of them before the next do:
// the codes of a chunk then stay in the first-level cache, which has no room for its sums, too.
template <typename Form, int kTokens>
void add_tokens(const TileChunk& chunk, const PanelChunk<Form>* panels, int n_panels, int t,
                TokenSums* const* sums) {
  int p = 0;
  for (; p + 2 <= n_panels; p += 2) {
    add_chunk<Form, 2, kTokens>(chunk, panels + p, t, sums + p);
  }
  if (p < n_panels) add_chunk<Form, 1, kTokens>(chunk, panels + p, t, sums + p);
}

template <typename Form>
void add_tile(const TileChunk& chunk, const PanelChunk<Form>* panels, int n_panels,
              TokenSums* const* sums) {
  // With two blocks a group there are twice the sums.
  constexpr int kMost = kTileTokens / Form::kBlocks;
  int t = 0;
  for (; t + kMost <= chunk.n_tokens; t += kMost) {
    add_tokens<Form, kMost>(chunk, panels, n_panels, t, sums);
  }
  for (; t + 2 <= chunk.n_tokens; t += 2) add_tokens<Form, 2>(chunk, panels, n_panels, t, sums);
  for (; t < chunk.n_tokens; ++t) add_tokens<Form, 1>(chunk, panels, n_panels, t, sums);
}

// `n_panels` panels from `row` on for tokens [first, first + n_tokens).
template <Encoding encoding>
void run_many(const LinearA8Args& args, const PanelLayout& layout, std::int64_t row, int n_panels,
              std::int64_t first, int n_tokens) {
  using Form = FormOf<encoding>;
  const __m512i table = code_table<encoding>(kOffset<encoding>);
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const std::byte* panel =
      args.panels + static_cast<std::size_t>(row / kPanelRows) * layout.size_bytes;
  alignas(64) TokenSums acc[kChunkPanels][kPassTokens];
  for (int p = 0; p < n_panels; ++p) {
    std::memset(acc[p], 0, sizeof(TokenSums) * static_cast<std::size_t>(n_tokens));
  }
  alignas(64) PanelChunk<Form> chunks[kChunkPanels];
  Starts starts;
  for (std::int64_t g = 0; g < n_groups; g += kChunkGroups) {
    const int n = static_cast<int>(std::min<std::int64_t>(kChunkGroups, n_groups - g));
    for (int p = 0; p < n_panels; ++p) {
      const std::byte* at = panel + static_cast<std::size_t>(p) * layout.size_bytes;
      unpack<encoding>(spec::panel_regions(at, layout), g, n, table, chunks[p]);
    }
    for (int t = 0; t < n_tokens; t += kA8TileTokens) {
      const int n_tile = std::min<int>(kA8TileTokens, n_tokens - t);
      const std::int64_t at = (first + t) * n_groups + g * n_tile;
      set_starts<encoding>(args.blocks + at, n, n_tile, starts);
      TokenSums* sums[kChunkPanels];
      for (int p = 0; p < n_panels; ++p) sums[p] = acc[p] + t;
      add_tile<Form>({n, args.codes + at * kColumnGroup, args.blocks + at, n_tile, starts}, chunks,
                     n_panels, sums);
    }
  }
  write_block(args, acc, n_panels, {row, first, n_tokens});
}

template <Encoding encoding>
void run_many_rows(const LinearA8Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  const std::int64_t n_panels = (args.n_rows + kPanelRows - 1) / kPanelRows;
  for (std::int64_t p = 0; p < n_panels; p += kChunkPanels) {
    const int n = static_cast<int>(std::min<std::int64_t>(kChunkPanels, n_panels - p));
    for (std::int64_t first = 0; first < args.n_tokens; first += kPassTokens) {
      run_many<encoding>(
          args, layout, p * kPanelRows, n, first,
          static_cast<int>(std::min<std::int64_t>(kPassTokens, args.n_tokens - first)));
    }
  }
  _mm_sfence();  // of write_block
}

template <Encoding encoding>
void linear_a8_of(const LinearA8Args& args) {
  switch (args.n_tokens) {
    case 0:
      return;
    case 1:
      return run_few_rows<encoding, 4, 1>(args);
    case 2:
      return run_few_rows<encoding, 4, 2>(args);
    default:
      return args.n_tokens <= kSomeTokens ? run_pairs<encoding>(args)
                                          : run_many_rows<encoding>(args);
  }
}

}  // namespace
}  // namespace avx512

void CRIA_AVX512VNNI_NAME(linear_a8)(const LinearA8Args& args) {
  switch (kernel_form(args.encoding)) {
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

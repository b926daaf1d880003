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
// verifies: likewise, two panels side by side, for as many tokens as registers have room for the
// integer and the float sums of, who share a chunk of columns from the first-level cache. Many
// tokens: a chunk of columns is unpacked once for up to 512 tokens.
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
inline avx2::Prefetch prefetch_of(int n_panels, int panel, const PanelLayout& layout) {
  using avx2::Prefetch;
  return avx2::is_amd() ? avx2::amd_prefetch(n_panels, panel, layout)
                        : Prefetch{Prefetch::Into::kFirstLevel, 2048};
}

// Whether an AMD core reads panels one after the other, asking for nothing, rather than four side
// by side, asking. One Zen 4 core, 1 token, GB/s (in brackets four): q4 31 (23), q8 31 (20), q4nl
// 30 (23), q4kmin 26 (24), q6k 28 (20), q3 28 (24), q2kmin 27 (26); but q3k 24 (25), and e8p2,
// where it is expanded to memory, 8.0 (9.7). q4 besides: one that asks 22, two that do not 20, four
// 23.
template <Encoding encoding>
inline constexpr bool kOneStream = !avx2::kExpands<encoding> && encoding != Encoding::kQ3K;

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

// Whole panels that follow each other, for all (few) tokens of a call. One panel by itself asks for
// nothing.
template <Encoding encoding, int kPanels, int kTokens>
void run_few(const LinearA8Args& args, const PanelLayout& layout, std::int64_t row,
             const avx2::Prefetch* prefetch) {
  using Form = FormOf<encoding>;
  const __m512i table = code_table<encoding>(kOffset<encoding>);
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const std::byte* panels[kPanels];
  __m512 acc[kPanels][kTokens];
  for (int p = 0; p < kPanels; ++p) {
    panels[p] = args.panels + static_cast<std::size_t>(row / kPanelRows + p) * layout.size_bytes;
    for (int t = 0; t < kTokens; ++t) acc[p][t] = _mm512_setzero_ps();
  }
  spec::GroupWalk<encoding> walk(layout.scale_shift, 0);
  for (std::int64_t g = 0; g < n_groups; ++g, walk.next()) {
    const A8Block* blocks = args.blocks + g * kTokens;
    if constexpr (kPanels == 1) {
      avx2::ask_for_activations(args.codes, args.blocks, kTokens, g, n_groups);
    }
    avx2::ExpandedGroup expanded[kPanels];
    const std::uint8_t* codes[kPanels];
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      const spec::Group group = walk.of(panels[p]);
      if constexpr (kPanels == 1) avx2::touch_lines<encoding>(group);
      codes[p] = group_codes<encoding>(group, expanded[p]);
      if constexpr (kPanels > 1) {
        avx2::ask_ahead<encoding>(panels[p], walk, layout, kPanels * layout.size_bytes,
                                  prefetch[p]);
      }
    }
    __m512i part[kPanels][kTokens][Form::kBlocks];
    const auto start_at = [&](int t, int b) {
      return start_of<encoding>(broadcast_32(blocks[t].sums), _mm512_setzero_si512(), b);
    };
    dot_group<encoding, kPanels, kTokens>(codes, table, args.codes + g * kTokens * kColumnGroup,
                                          start_at, part);
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      const GroupScales<Form> scales = load_scales<encoding>(walk.of(panels[p]));
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

#if !defined(CRIA_EMULATE_AVX512)
// acc += kGroups groups of a panel from g on, whose codes are for several columns, side by side, so
// that one has something to do while another waits for its tables. REQUIRES: has_vbmi_and_gfni().
template <Encoding encoding, int kGroups, int kTokens>
CRIA_VBMI_INLINE void add_word_groups(const LinearA8Args& args,
                                      const WordWeights<encoding>& weights, const std::byte* panel,
                                      spec::GroupWalk<encoding>& walk, std::int64_t g,
                                      __m512 (&acc)[kTokens]) {
  using Form = FormOf<encoding>;
  const std::int8_t* columns = args.codes + g * kTokens * kColumnGroup;
  const A8Block* blocks = args.blocks + g * kTokens;
  alignas(32) std::int8_t x[kGroups * kTokens][kColumnGroup];
  __m512i part[kGroups][kTokens];
  CRIA_UNROLL
  for (int i = 0; i < kGroups * kTokens; ++i) {
    const __m256i ordered = weights.ordered(avx2::load_256(columns + i * kColumnGroup));
    _mm256_store_si256(reinterpret_cast<__m256i*>(x[i]), ordered);
    const __m512i x_sums = broadcast_32(blocks[i].sums);
    part[i / kTokens][i % kTokens] = start_of<encoding>(x_sums, _mm512_setzero_si512(), 0);
  }
  // Else they stay in registers and are taken out one by one, by shuffles.
  asm("" : "+m"(x));
  typename WordWeights<encoding>::Group loaded[kGroups];
  GroupScales<Form> scales[kGroups];
  CRIA_UNROLL
  for (int i = 0; i < kGroups; ++i, walk.next()) {
    const spec::Group group = walk.of(panel);
    loaded[i] = weights.load(group.codes);
    scales[i] = load_scales<encoding>(group);
  }
  CRIA_UNROLL
  for (int q = 0; q < kQuads; ++q) {
    CRIA_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      const __m512i w = weights.quad(loaded[i], q);
      CRIA_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        const __m512i quad = broadcast_32(x[i * kTokens + t] + 4 * q);
        part[i][t] = _mm512_dpbusd_epi32(part[i][t], w, quad);
      }
    }
  }
  CRIA_UNROLL
  for (int i = 0; i < kGroups; ++i) {
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      acc[t] = add_group<Form>(&part[i][t], scales[i], blocks[i * kTokens + t], acc[t]);
    }
  }
}

// What run_few does, for codes for several columns: one panel after the other, without asking
// ahead, as the processor reads along well enough for what has so much to do for a byte. REQUIRES:
// has_vbmi_and_gfni(). One Zen 4 core, 1 token, GB/s, and expanded to memory first: e8p2 19.7
// (11.4), e8p3 16.9 (9.1), e8p4 19.5 (11.9), q4s24 22 (18.7), q8s24 29 (26).
template <Encoding encoding, int kTokens>
CRIA_VBMI void run_few_words(const LinearA8Args& args) {
  constexpr int kGroups = encoding_spec(encoding).bits == 2 && kTokens == 1 ? 4 : 2;
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  const WordWeights<encoding> weights;
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const std::byte* panel = args.panels;
  for (std::int64_t row = 0; row < args.n_rows; row += kPanelRows, panel += layout.size_bytes) {
    __m512 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
    spec::GroupWalk<encoding> walk(layout.scale_shift, 0);
    std::int64_t g = 0;
    for (; g + kGroups <= n_groups; g += kGroups) {
      add_word_groups<encoding, kGroups>(args, weights, panel, walk, g, acc);
    }
    for (; g < n_groups; ++g) add_word_groups<encoding, 1>(args, weights, panel, walk, g, acc);
    alignas(64) TokenSums sums[kTokens];
    for (int t = 0; t < kTokens; ++t) _mm512_storeu_ps(sums[t], acc[t]);
    write_sums(args, sums, row, 0, kTokens);
  }
}
#endif

template <Encoding encoding, int kTokens>
void run_few_rows(const LinearA8Args& args) {
#if !defined(CRIA_EMULATE_AVX512)
  if constexpr (avx2::kExpands<encoding>) {
    if (has_vbmi_and_gfni()) return run_few_words<encoding, kTokens>(args);
  }
#endif
  constexpr int kPanels = 4;
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  const bool one_stream = avx2::is_amd() && kOneStream<encoding>;
  avx2::Prefetch prefetch[kPanels];
  for (int p = 0; p < kPanels; ++p) prefetch[p] = prefetch_of(kPanels, p, layout);
  std::int64_t row = 0;
  for (; !one_stream && row + (kPanels - 1) * kPanelRows < args.n_rows;
       row += kPanels * kPanelRows) {
    run_few<encoding, kPanels, kTokens>(args, layout, row, prefetch);
  }
  for (; row < args.n_rows; row += kPanelRows) {
    run_few<encoding, 1, kTokens>(args, layout, row, prefetch);
  }
}

// --- what tokens bring besides codes -------------------------------------------------------------

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

// --- some tokens ---------------------------------------------------------------------------------

// Two tiles; one where codes are expanded, for each tile. Two Zen 4 cores, from memory, how many
// times as fast as with chunks: q4 1.13 with 40 tokens, 1.10 with 48, 1.07 with 64; q3k 1.01, 0.99,
// 1.01; e8p4 0.95, 0.95, 0.96.
template <Encoding encoding>
inline constexpr std::int64_t kSomeTokens = (avx2::kExpands<encoding> ? 1 : 2) * kA8TileTokens;

// Groups that all tokens go through before the next are begun: 8 KiB of codes a panel, or 4 of
// expanded ones, which stay in the first-level cache.
template <Encoding encoding>
inline constexpr int kPairGroups = avx2::kExpands<encoding>
                                       ? 8
                                       : 8192 / encoding_spec(encoding).group_bytes();

// A chunk of columns of two panels.
template <Encoding encoding>
struct PairChunk {
  const std::byte* panels[2];
  std::int64_t first;  // group
  int n_groups;
  const avx2::ExpandedGroup* expanded[2];  // the chunk's, if kExpands
  const PanelLayout& layout;
};

// What its tokens have.
struct PairTokens {
  const std::int8_t* x;   // [n_groups][n][32]
  const A8Block* blocks;  // [n_groups][n]
  int n;
  const Starts& starts;
  bool ask;  // for the codes that follow: the first of all that go through these panels do
};

// sums[panel][i] += the chunk's, for tokens t <= i < t + kTokens.
template <Encoding encoding, int kTokens>
[[gnu::noinline]] void add_pair(const PairChunk<encoding>& chunk, __m512i table,
                                const PairTokens& tokens, int t, TokenSums* const* sums) {
  using Form = FormOf<encoding>;
  const std::int32_t* starts = tokens.starts.of[0] + t;
  const std::int8_t* x = tokens.x + t * kColumnGroup;
  const A8Block* blocks = tokens.blocks + t;
  const avx2::Prefetch prefetch[2] = {prefetch_of(2, 0, chunk.layout),
                                      prefetch_of(2, 1, chunk.layout)};
  const std::byte* const panels[2] = {chunk.panels[0], chunk.panels[1]};
  spec::GroupWalk<encoding> walk(chunk.layout.scale_shift, chunk.first);
  __m512 acc[2][kTokens];
  CRIA_UNROLL
  for (int p = 0; p < 2; ++p) {
    CRIA_UNROLL
    for (int i = 0; i < kTokens; ++i) acc[p][i] = _mm512_loadu_ps(sums[p][t + i]);
  }
  for (int g = 0; g < chunk.n_groups; ++g, walk.next()) {
    const std::uint8_t* codes[2];
    CRIA_UNROLL
    for (int p = 0; p < 2; ++p) {
      if constexpr (avx2::kExpands<encoding>) {
        codes[p] = chunk.expanded[p][g].bytes[0];
      } else {
        codes[p] = walk.of(panels[p]).codes;
      }
      if (t == 0 && tokens.ask) {
        avx2::ask_ahead<encoding>(panels[p], walk, chunk.layout, 2 * chunk.layout.size_bytes,
                                  prefetch[p]);
      }
    }
    __m512i part[2][kTokens][Form::kBlocks];
    const auto start_at = [&](int i, int b) {
      return Starts::broadcast(starts + i, Starts::kSumOfBlock0 + b);
    };
    dot_group<encoding, 2, kTokens>(codes, table, x, start_at, part);
    CRIA_UNROLL
    for (int p = 0; p < 2; ++p) {
      const GroupScales<Form> scales = load_scales<encoding>(walk.of(panels[p]));
      CRIA_UNROLL
      for (int i = 0; i < kTokens; ++i) {
        const __m512 x_scale = _mm512_set1_ps(blocks[i].scale);
        acc[p][i] = add_sums<Form>(part[p][i], scales, x_scale, acc[p][i]);
        acc[p][i] = add_min<Form>(scales, min_factors<Form>(starts + i, blocks[i]), acc[p][i]);
      }
    }
    x += tokens.n * kColumnGroup;
    blocks += tokens.n;
    starts += tokens.n;
  }
  CRIA_UNROLL
  for (int p = 0; p < 2; ++p) {
    CRIA_UNROLL
    for (int i = 0; i < kTokens; ++i) _mm512_storeu_ps(sums[p][t + i], acc[p][i]);
  }
}

// Two panels from `row` on, of the last one alone both the same, for tokens [first, first +
// n_tokens) of a tile.
template <Encoding encoding>
void run_pair(const LinearA8Args& args, const PanelLayout& layout, std::int64_t row,
              std::int64_t first, int n_tokens) {
  constexpr int kMost = FormOf<encoding>::kBlocks == 1 ? 6 : 4;  // whose sums fit into registers
  const __m512i table = code_table<encoding>(kOffset<encoding>);
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const int n_panels = row + kPanelRows < args.n_rows ? 2 : 1;
  const std::byte* panel =
      args.panels + static_cast<std::size_t>(row / kPanelRows) * layout.size_bytes;
  alignas(64) TokenSums acc[2][kA8TileTokens];
  for (int p = 0; p < 2; ++p) {
    for (int t = 0; t < n_tokens; ++t) _mm512_storeu_ps(acc[p][t], _mm512_setzero_ps());
  }
  TokenSums* const sums[2] = {acc[0], acc[1]};
  Starts starts;
  avx2::ExpandedGroup expanded[2][avx2::kExpands<encoding> ? kPairGroups<encoding> : 1];
  PairChunk<encoding> chunk = {.panels = {panel, panel + (n_panels - 1) * layout.size_bytes},
                               .expanded = {expanded[0], expanded[1]},
                               .layout = layout};
  const int most = std::min(kPairGroups<encoding>, Starts::kSize / n_tokens);
  for (std::int64_t g = 0; g < n_groups; g += most) {
    chunk.n_groups = static_cast<int>(std::min<std::int64_t>(most, n_groups - g));
    chunk.first = g;
    if constexpr (avx2::kExpands<encoding>) {
      for (int p = 0; p < 2; ++p) {
        for (int i = 0; i < chunk.n_groups; ++i) {
          const spec::Panel from = spec::panel_at(chunk.panels[p], layout);
          group_codes<encoding>(spec::group_at<encoding>(from, g + i), expanded[p][i]);
        }
      }
    }
    const std::int64_t at = first * n_groups + g * n_tokens;
    set_starts<encoding, false>(args.blocks + at, chunk.n_groups * n_tokens, starts);
    const PairTokens tokens = {args.codes + at * kColumnGroup, args.blocks + at, n_tokens, starts,
                               first == 0};
    int t = 0;
    const auto add = [&]<int kTokens>() {
      add_pair<encoding, kTokens>(chunk, table, tokens, t, sums);
      t += kTokens;
    };
    while (t + kMost <= n_tokens) add.template operator()<kMost>();
    if (kMost > 4 && t + 4 <= n_tokens) add.template operator()<4>();
    if (t + 3 <= n_tokens) add.template operator()<3>();
    if (t + 2 <= n_tokens) add.template operator()<2>();
    if (t < n_tokens) add.template operator()<1>();
  }
  for (int p = 0; p < n_panels; ++p) {
    write_sums(args, acc[p], row + p * kPanelRows, first, n_tokens);
  }
}

template <Encoding encoding>
void run_pairs(const LinearA8Args& args) {
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  for (std::int64_t row = 0; row < args.n_rows; row += 2 * kPanelRows) {
    for (std::int64_t first = 0; first < args.n_tokens; first += kA8TileTokens) {
      const auto n = static_cast<int>(std::min(kA8TileTokens, args.n_tokens - first));
      run_pair<encoding>(args, layout, row, first, n);
    }
  }
}

// --- many tokens ---------------------------------------------------------------------------------

constexpr int kStepTokens = 6;
constexpr int kTileTokens = static_cast<int>(kA8TileTokens);
constexpr int kPassTokens = 16 * kA8TileTokens;

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
[[gnu::noinline]] void add_chunk(const TileChunk& chunk, const PanelChunk<Form>* panels, int t,
                                 TokenSums* const* sums) {
  const int n_groups = chunk.n_groups;
  const std::int64_t stride = chunk.n_tokens;
  const std::int8_t* x = chunk.x + t * kColumnGroup;
  const A8Block* blocks = chunk.blocks + t;
  const std::int32_t* starts = chunk.starts.of[0] + t;
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
          part[i][p][b] = Starts::broadcast(starts + i, Starts::kSumOfBlock0 + b);
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
        const GroupScales<Form>& scales = panels[p].scales[g];
        if constexpr (Form::kInMantissa) {
          const __m512 bits = _mm512_castsi512_ps(Starts::broadcast(starts + i, Starts::kBits));
          acc[p][i] = add_sums<Form>(part[i][p], scales, panels[p].leveled[g], bits,
                                     starts[Starts::kLevel * Starts::kSize + i], acc[p][i]);
        } else {
          const __m512 x_scale = _mm512_set1_ps(blocks[i].scale);
          acc[p][i] = add_sums<Form>(part[i][p], scales, x_scale, acc[p][i]);
        }
        acc[p][i] = add_min<Form>(scales, min_factors<Form>(starts + i, blocks[i]), acc[p][i]);
      }
    }
    x += stride * kColumnGroup;
    blocks += stride;
    starts += stride;
  }
  CRIA_UNROLL
  for (int p = 0; p < kPanels; ++p) {
    CRIA_UNROLL
    for (int i = 0; i < kTokens; ++i) _mm512_storeu_ps(sums[p][t + i], acc[p][i]);
  }
}

// Tokens that are multiplied together: with two blocks a group there are twice the sums.
template <typename Form>
inline constexpr int kMostTokens = kStepTokens / Form::kBlocks;

// The same for all tokens of a tile: a pair of panels, and what the tokens have, stay in the
// first-level cache.
template <typename Form, int kPanels>
void add_tile(const TileChunk& chunk, const PanelChunk<Form>* panels, TokenSums* const* sums,
              avx2::LinesAhead& ahead) {
  constexpr int kMost = kMostTokens<Form>;
  int t = 0;
  for (; t + kMost <= chunk.n_tokens; t += kMost) {
    ahead.ask();
    add_chunk<Form, kPanels, kMost>(chunk, panels, t, sums);
  }
  for (; t + 2 <= chunk.n_tokens; t += 2) add_chunk<Form, kPanels, 2>(chunk, panels, t, sums);
  for (; t < chunk.n_tokens; ++t) add_chunk<Form, kPanels, 1>(chunk, panels, t, sums);
}

// Panels that follow each other in memory and are read together, chunk by chunk.
struct ChunkWalk {
  const PanelLayout& layout;
  const std::byte* panel;  // the first
  int n_panels;
  std::int64_t n_groups;  // of a panel

  spec::Panel at(int p) const {
    return spec::panel_at(panel + static_cast<std::size_t>(p) * layout.size_bytes, layout);
  }

  // What comes after the chunk at group g: the next of these panels, or the first of those that are
  // read next.
  template <Encoding encoding>
  avx2::LinesAhead lines_after(std::int64_t g, int n_asks) const {
    const bool is_last = g + kChunkGroups >= n_groups;
    const std::int64_t first = is_last ? 0 : g + kChunkGroups;
    const std::int64_t end = std::min<std::int64_t>(first + kChunkGroups, n_groups);
    const spec::Panel from = at(is_last ? n_panels : 0);
    return {from.bytes + encoding_spec(encoding).group_offset(first, from.scale_shift),
            from.bytes + encoding_spec(encoding).group_offset(end, from.scale_shift),
            layout.size_bytes, n_panels, n_asks};
  }
};

// `n_panels` panels from `row` on for tokens [first, first + n_tokens).
template <Encoding encoding>
void run_many(const LinearA8Args& args, const PanelLayout& layout, std::int64_t row, int n_panels,
              std::int64_t first, int n_tokens) {
  using Form = FormOf<encoding>;
  const __m512i table = code_table<encoding>(kOffset<encoding>);
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const ChunkWalk walk = {
      layout, args.panels + static_cast<std::size_t>(row / kPanelRows) * layout.size_bytes,
      n_panels, n_groups};
  alignas(64) TokenSums acc[kChunkPanels][kPassTokens];
  for (int p = 0; p < n_panels; ++p) {
    std::memset(acc[p], 0, sizeof(TokenSums) * static_cast<std::size_t>(n_tokens));
  }
  alignas(64) PanelChunk<Form> chunks[kChunkPanels];
  Starts starts;
  const int n_asks = std::max(
      1, (n_panels + 1) / 2 * (n_tokens / kTileTokens) * (kTileTokens / kMostTokens<Form>));
  for (std::int64_t g = 0; g < n_groups; g += kChunkGroups) {
    const int n = static_cast<int>(std::min<std::int64_t>(kChunkGroups, n_groups - g));
    for (int p = 0; p < n_panels; ++p) unpack<encoding>(walk.at(p), g, n, table, chunks[p]);
    avx2::LinesAhead ahead = walk.lines_after<encoding>(g, n_asks);
    for (int t = 0; t < n_tokens; t += kTileTokens) {
      const int n_tile = std::min(kTileTokens, n_tokens - t);
      const std::int64_t at = (first + t) * n_groups + g * n_tile;
      set_starts<encoding, Form::kInMantissa>(args.blocks + at, n * n_tile, starts);
      const TileChunk chunk = {n, args.codes + at * kColumnGroup, args.blocks + at, n_tile, starts};
      for (int p = 0; p < n_panels; p += 2) {
        TokenSums* const sums[2] = {acc[p] + t, acc[p + 1] + t};
        p + 2 <= n_panels ? add_tile<Form, 2>(chunk, chunks + p, sums, ahead)
                          : add_tile<Form, 1>(chunk, chunks + p, sums, ahead);
      }
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
      return run_few_rows<encoding, 1>(args);
    case 2:
      return run_few_rows<encoding, 2>(args);
    default:
      return args.n_tokens <= kSomeTokens<encoding> ? run_pairs<encoding>(args)
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

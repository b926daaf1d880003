// linear_a8 with AVX-512 VNNI: some tokens, as of a step that verifies. Codes go from memory
// through registers, two panels side by side, for as many tokens as registers have room for the
// integer and the float sums of, who share a chunk of columns from the first-level cache. Internal
// linkage throughout, as in panel/generic.h.
#pragma once

#include <algorithm>

#include "kernels/linear_a8/vnni.h"

namespace cria::avx512 {
namespace {

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

}  // namespace
}  // namespace cria::avx512

// linear_a8 with AVX-512 VNNI: many tokens. A chunk of columns is unpacked once for up to 512 of
// them. Internal linkage throughout, as in panel/generic.h.
#pragma once

#include <algorithm>

#include "kernels/linear_a8/vnni.h"

namespace cria::avx512 {
namespace {

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

}  // namespace
}  // namespace cria::avx512

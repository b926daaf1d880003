// linear_a8 with AMX-INT8, for enough tokens; fewer go to AVX-512 VNNI.
//
// tdpbssd multiplies 16 tokens by a group of a panel: its 32 columns of 16 rows lie as the tile
// wants them once codes are signed bytes. Sums leave the tile after every group, since a group has
// its own scales; then the same float operations follow as everywhere.
//
// Measured on Granite Rapids: a product takes 16 cycles of the tile unit, storing it 16 more, which
// overlap if the store is not of the product just begun. The 48 float operations of a product take
// 51 cycles, and 57 with all loads (one a cycle: beside tile instructions only one port multiplies
// and converts, while both add); with what comes from the second-level cache, unpacking and writing
// it is 70. Small scales are floats for that: an integer product takes two operations more. Writing
// the results mattered most besides: in rows a power of two apart, lines push each other out of the
// second-level cache. With bfloat16 on tiles (no conversion of sums: 32 operations, 42 cycles with
// all loads) codes take twice the room, and what that costs ate the gain.
#include <algorithm>

#include "kernels/isa.h"
#include "kernels/linear_a8/avx512.h"
#include "kernels/panel/amx.h"

namespace cria {
namespace amx {
namespace {

using namespace avx512;

// Fewer are faster without tiles (measured).
constexpr std::int64_t kLeastTokens = 25;
constexpr int kRows = kAmxRows;  // tokens of a tile
constexpr int kPassTokens = 4 * kA8TileTokens;
constexpr int kPassTiles = kPassTokens / kRows;

// --- what tiles are loaded from ------------------------------------------------------------------

// Columns of 16 tokens.
struct TokenTile {
  const std::int8_t* x;   // [groups][stride][32]: the first 16 of each group
  const A8Block* blocks;  // [groups][stride]
  std::int64_t stride;
};

// The last tokens, when they do not fill a tile: the rest are zeros.
struct PaddedTokens {
  alignas(64) std::int8_t x[kChunkGroups][kRows][kColumnGroup] = {};
  A8Block blocks[kChunkGroups][kRows] = {};

  TokenTile fill(const TokenTile& tile, int n_groups, int n_tokens) {
    const auto n = static_cast<std::size_t>(n_tokens);
    for (int g = 0; g < n_groups; ++g) {
      std::memcpy(x[g], tile.x + g * tile.stride * kColumnGroup, n * kColumnGroup);
      std::memcpy(blocks[g], tile.blocks + g * tile.stride, n * sizeof(A8Block));
    }
    return {x[0][0], blocks[0], kRows};
  }
};

template <typename Form>
struct TileScales {
  GroupScales<Form> of_group;
  __m512 block[Form::kBlocks];  // of two blocks: the small scales, as floats
};

// A chunk of columns of a panel. Of two blocks of 16 columns each has a tile of its own, with zeros
// in the place of the other.
template <typename Form>
struct TileChunk {
  alignas(64) std::int8_t codes[kChunkGroups][Form::kBlocks][kQuads][64];
  TileScales<Form> scales[kChunkGroups];
};

// `n_groups` of a panel from `first` on, and one that is zero behind an odd number.
template <Encoding encoding>
inline void unpack_tiles(const spec::Panel& panel, std::int64_t first, int n_groups, __m512i table,
                         TileChunk<FormOf<encoding>>& out) {
  using Form = FormOf<encoding>;
  for (int g = 0; g < n_groups; ++g) {
    const spec::Group group = spec::group_at<encoding>(panel, first + g);
    avx2::ExpandedGroup expanded;
    const std::uint8_t* codes = group_codes<encoding>(group, expanded);
    CRIA_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      __m512i quad = load_codes<encoding>(codes, q, table);
      if constexpr (!kHasTable<encoding> && kOffset<encoding> != 0) {
        quad = _mm512_sub_epi8(quad, _mm512_set1_epi8(static_cast<char>(kOffset<encoding>)));
      }
      _mm512_storeu_si512(out.codes[g][q * Form::kBlocks / kQuads][q], quad);
    }
    TileScales<Form>& scales = out.scales[g];
    scales.of_group = load_scales<encoding>(group);
    for (int b = 0; b < 2 && Form::kBlocks == 2; ++b) {
      scales.block[b] = _mm512_cvtepi32_ps(load_signed(spec::scales_of<encoding>(group, b)));
    }
  }
  if (n_groups % 2 == 1) {
    std::memset(out.codes[n_groups], 0, sizeof(out.codes[n_groups]));
    std::memset(static_cast<void*>(&out.scales[n_groups]), 0, sizeof(out.scales[n_groups]));
  }
}

// --- products ------------------------------------------------------------------------------------

// One group of one token. A float holds a sum and its product with a small scale exactly, or rounds
// it as the integer would be.
template <typename Form>
inline __m512 add_products(const AmxProducts* products, int t, const TileScales<Form>& scales,
                           const A8Block& x, __m512 acc) {
  __m512 dot = _mm512_cvtepi32_ps(load_512(products[0][t]));
  if constexpr (Form::kBlocks == 2) {
    dot = _mm512_mul_ps(dot, scales.block[0]);
    dot = _mm512_fmadd_ps(_mm512_cvtepi32_ps(load_512(products[1][t])), scales.block[1], dot);
  }
  acc = add_scaled<Form>(dot, scales.of_group.scale, _mm512_set1_ps(x.scale), acc);
  return add_min<Form>(scales.of_group, load_min_factors<Form>(x), acc);
}

// Where a pair of groups begins: the second one's `x` and `blocks` are `second` tokens further on.
template <typename Form>
struct PairAt {
  const std::int8_t* x;
  const A8Block* blocks;
  std::int64_t second;
  const std::int8_t (*codes)[Form::kBlocks][kQuads][64];
};

// A chunk of columns of a few panels and of the tokens of a pass, group by group, panel by panel,
// tile by tile. Three things go on at a time: while the products of a group are scaled, those of
// the next leave the tile registers, and those of the one behind it are made.
template <typename Form>
class Pipeline {
 public:
  Pipeline(const TileChunk<Form>* panels, int n_panels, int n_groups, const TokenTile* tiles,
           int n_tiles)
      : panels_(panels),
        n_panels_(n_panels),
        n_groups_(n_groups),
        tiles_(tiles),
        n_tiles_(n_tiles) {}

  // sums[panel][16 * tile + token] += the chunk's.
  void run(TokenSums (*sums)[kPassTokens]) {
    asm volatile("" : : : "memory");  // tileloadd reads what was unpacked; compilers do not know
    PairAt<Form> at = pair_at(0, 0, 0);
    begin<0>(at);
    begin<1>(at);
    keep<0>();
    for (int i = 0; i < n_tiles_; ++i) {
      for (int p = 0; p < n_panels_; ++p) {
        const bool same_tile = p + 1 < n_panels_, last = !same_tile && i + 1 == n_tiles_;
        const PairAt<Form> next =
            last ? at : pair_at(same_tile ? i : i + 1, same_tile ? p + 1 : 0, 0);
        add(i, p, next, sums[p] + i * kRows);
      }
    }
  }

 private:
  PairAt<Form> pair_at(int tile, int panel, int group) const {
    const TokenTile& tokens = tiles_[tile];
    const std::int64_t at = group * tokens.stride;
    // Behind an odd number there is a group of zeros, which any activations do for.
    return {tokens.x + at * kColumnGroup, tokens.blocks + at,
            group + 1 < n_groups_ ? tokens.stride : 0, panels_[panel].codes + group};
  }

  template <int odd>
  void load_x(const PairAt<Form>& at) {
    _tile_loadd(6, at.x + odd * at.second * kColumnGroup, kColumnGroup);
  }
  template <int odd>
  void load_codes(const PairAt<Form>& at) {
    _tile_loadd(7, at.codes[odd][0], 64);
  }
  // After both: the products of a group.
  template <int odd>
  void multiply_blocks(const PairAt<Form>& at) {
    multiply_groups<Form::kBlocks * odd>();
    if constexpr (Form::kBlocks == 2) {
      _tile_loadd(7, at.codes[odd][1], 64);
      multiply_groups<2 * odd + 1>();
    }
  }
  template <int odd>
  void begin(const PairAt<Form>& at) {
    load_x<odd>(at);
    load_codes<odd>(at);
    multiply_blocks<odd>(at);
  }
  template <int odd>
  void keep() {
    store_products<Form::kBlocks * odd>(products_[odd][0]);
    if constexpr (Form::kBlocks == 2) store_products<2 * odd + 1>(products_[odd][1]);
  }

  template <int odd, int first>
  void scale(const TileScales<Form>& scales, const A8Block* blocks, __m512* acc) {
    CRIA_UNROLL
    for (int t = first; t < first + kRows / 4; ++t) {
      acc[t] = add_products<Form>(products_[odd], t, scales, blocks[t], acc[t]);
    }
    asm volatile("" : : : "memory");  // in this order: tile instructions strewn over the others
  }

  // Scales a group, keeps the next, begins the one of `then`.
  template <int odd>
  void step(const PairAt<Form>& then, const TileScales<Form>& scales, const A8Block* blocks,
            __m512* acc) {
    load_x<odd>(then);
    scale<odd, 0>(scales, blocks, acc);
    load_codes<odd>(then);
    scale<odd, 4>(scales, blocks, acc);
    keep<1 - odd>();
    scale<odd, 8>(scales, blocks, acc);
    multiply_blocks<odd>(then);
    scale<odd, 12>(scales, blocks, acc);
  }

  // `next`: the first pair of the panel or tile to come.
  void add(int tile, int panel, const PairAt<Form>& next, TokenSums* sums) {
    __m512 acc[kRows];
    CRIA_UNROLL
    for (int t = 0; t < kRows; ++t) acc[t] = _mm512_loadu_ps(sums[t]);
    const TileScales<Form>* scales = panels_[panel].scales;
    PairAt<Form> at = pair_at(tile, panel, 0);
    for (int g = 0; g < n_groups_; g += 2) {
      const PairAt<Form> then = g + 2 < n_groups_ ? pair_at(tile, panel, g + 2) : next;
      step<0>(then, scales[g], at.blocks, acc);
      step<1>(then, scales[g + 1], at.blocks + at.second, acc);
      at = then;
    }
    CRIA_UNROLL
    for (int t = 0; t < kRows; ++t) _mm512_storeu_ps(sums[t], acc[t]);
  }

  const TileChunk<Form>* panels_;
  int n_panels_, n_groups_;
  const TokenTile* tiles_;
  int n_tiles_;
  alignas(64) AmxProducts products_[2][Form::kBlocks];
};

// --- rows ----------------------------------------------------------------------------------------

// Panels that are unpacked together; of two blocks a group they are twice as large.
template <typename Form>
constexpr int kPanels = kChunkPanels / Form::kBlocks;

// A block of panels and a pass of tokens.
template <Encoding encoding>
class Pass {
 public:
  Pass(const LinearA8Args& args, std::int64_t first_row, int n_panels, std::int64_t first_token,
       int n_tokens)
      : args_(args),
        layout_(panel_layout(args.encoding, args.n_cols)),
        n_groups_(a8_blocks(args.n_cols)),
        row_(first_row),
        n_panels_(n_panels),
        first_(first_token),
        n_tokens_(n_tokens) {
    std::memset(sums_, 0, sizeof(sums_[0]) * static_cast<std::size_t>(n_panels));
    if constexpr (Form::kBlocks == 2) {
      for (auto& chunk : chunks_) std::memset(chunk.codes, 0, sizeof(chunk.codes));
    }
  }

  void run() {
    const __m512i table = code_table<encoding>(0);
    const std::byte* panels =
        args_.panels + static_cast<std::size_t>(row_ / kPanelRows) * layout_.size_bytes;
    for (std::int64_t g = 0; g < n_groups_; g += kChunkGroups) {
      const int n = static_cast<int>(std::min<std::int64_t>(kChunkGroups, n_groups_ - g));
      for (int p = 0; p < n_panels_; ++p) {
        const std::byte* at = panels + static_cast<std::size_t>(p) * layout_.size_bytes;
        unpack_tiles<encoding>(spec::panel_at(at, layout_), g, n, table, chunks_[p]);
      }
      run_chunk(g, n);
    }
    write_block(args_, sums_, n_panels_, {row_, first_, n_tokens_});
  }

 private:
  using Form = FormOf<encoding>;

  // The chunk of columns from group `g` on, unpacked before.
  void run_chunk(std::int64_t g, int n) {
    TokenTile tiles[kPassTiles];
    int n_tiles = 0;
    for (int t = 0; t < n_tokens_; t += kRows) {
      const int tile = t / static_cast<int>(kA8TileTokens) * static_cast<int>(kA8TileTokens);
      const std::int64_t stride = std::min<std::int64_t>(kA8TileTokens, n_tokens_ - tile);
      const std::int64_t at = (first_ + tile) * n_groups_ + g * stride + (t - tile);
      tiles[n_tiles] = {args_.codes + at * kColumnGroup, args_.blocks + at, stride};
      const int left = n_tokens_ - t;
      if (left < kRows) tiles[n_tiles] = padded_.fill(tiles[n_tiles], n, left);
      ++n_tiles;
    }
    Pipeline<Form>(chunks_, n_panels_, n, tiles, n_tiles).run(sums_);
  }

  const LinearA8Args& args_;
  const PanelLayout layout_;
  const std::int64_t n_groups_, row_;
  const int n_panels_;
  const std::int64_t first_;  // token
  const int n_tokens_;
  PaddedTokens padded_;
  alignas(64) TileChunk<Form> chunks_[kPanels<Form>];
  alignas(64) TokenSums sums_[kPanels<Form>][kPassTokens];
};

// All panels for a pass of tokens before the next: the tokens then stay in the second-level cache,
// and so do the panels of a call for the passes to come.
template <Encoding encoding>
void run_rows(const LinearA8Args& args) {
  constexpr int kSideBySide = kPanels<FormOf<encoding>>;
  const AmxTiles tiles;
  const std::int64_t n_panels = (args.n_rows + kPanelRows - 1) / kPanelRows;
  for (std::int64_t first = 0; first < args.n_tokens; first += kPassTokens) {
    const auto n_tokens =
        static_cast<int>(std::min<std::int64_t>(kPassTokens, args.n_tokens - first));
    for (std::int64_t p = 0; p < n_panels; p += kSideBySide) {
      const auto n = static_cast<int>(std::min<std::int64_t>(kSideBySide, n_panels - p));
      Pass<encoding>(args, p * kPanelRows, n, first, n_tokens).run();
    }
  }
  _mm_sfence();  // of write_block
}

// Whether there are enough tokens for it.
template <Encoding encoding>
bool linear_a8_of(const LinearA8Args& args) {
  if (args.n_tokens < kLeastTokens) return false;
  run_rows<encoding>(args);
  return true;
}

bool linear_a8_on_tiles(const LinearA8Args& args) {
  switch (kernel_form(args.encoding)) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return linear_a8_of<Encoding::name>(args);
    CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
    default:
      return true;  // dense weights have no a8 form
  }
}

}  // namespace
}  // namespace amx

void CRIA_AMX_INT8_NAME(linear_a8)(const LinearA8Args& args) {
  if (!amx::linear_a8_on_tiles(args)) CRIA_AVX512VNNI_NAME(linear_a8)(args);
}

}  // namespace cria

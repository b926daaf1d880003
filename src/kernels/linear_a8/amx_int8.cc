// linear_a8 with AMX-INT8, for enough tokens; fewer go to AVX-512 VNNI.
//
// tdpbssd multiplies 16 tokens by a group of a panel: its 32 columns of 16 rows lie as the tile
// wants them once codes are signed bytes. Sums leave the tile after every group, since a group has
// its own scales; then the same float operations follow as everywhere.
//
// Measured on Granite Rapids: a product takes 16 cycles of the tile unit, storing it 16 more, which
// overlap if the store is not of the product just begun; and next to tile instructions only one of
// the two ports multiplies 512-bit floats, so that the 48 float operations of a product take 48
// cycles, and 60 with all loads. Of the rest, writing the results mattered most: in rows a power of
// two apart, lines push each other out of the second-level cache.
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

using Products = std::int32_t[kRows][kPanelRows];

// A chunk of columns of 16 tokens.
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

// A chunk of columns of a few panels and of the tokens of a pass.
template <typename Form>
struct Chunk {
  const PanelChunk<Form>* panels;
  int n_panels;
  int n_groups;
  const TokenTile* tiles;
  int n_tiles;
};

// Walks over the products of a chunk: tile by tile, panel by panel, group by group.
template <typename Form>
class Walk {
 public:
  explicit Walk(const Chunk<Form>& chunk) : chunk_(chunk) { enter(); }

  bool done() const { return tile_ == chunk_.n_tiles; }

  // Begins a product in the tile register 0 or 1.
  void multiply(bool odd) {
    _tile_loadd(6, x_, kColumnGroup);
    _tile_loadd(7, codes_, 64);
    if (odd) {
      _tile_zero(1);
      _tile_dpbssd(1, 6, 7);
    } else {
      _tile_zero(0);
      _tile_dpbssd(0, 6, 7);
    }
    next();
  }

 private:
  void next() {
    x_ += step_;
    codes_ += kQuads * 64;
    if (++group_ < chunk_.n_groups) return;
    group_ = 0;
    if (++panel_ == chunk_.n_panels) {
      panel_ = 0;
      ++tile_;
    }
    if (!done()) enter();
  }

  void enter() {
    x_ = chunk_.tiles[tile_].x;
    step_ = chunk_.tiles[tile_].stride * kColumnGroup;
    codes_ = chunk_.panels[panel_].codes[0][0];
  }

  const Chunk<Form>& chunk_;
  int tile_ = 0, panel_ = 0, group_ = 0;
  const std::int8_t* x_;
  std::int64_t step_;
  const std::uint8_t* codes_;
};

// Three things go on at a time: while a product is multiplied, the one before is stored, and the
// one before that is scaled.
template <typename Form>
class Pipeline {
 public:
  explicit Pipeline(const Chunk<Form>& chunk) : chunk_(chunk), ahead_(chunk) {}

  // sums[panel][16 * tile + token] += the chunk's.
  void run(TokenSums (*sums)[kPassTokens]) {
    asm volatile("" : : : "memory");  // tileloadd reads what was unpacked; compilers do not know
    ahead_.multiply(false);
    advance();
    for (int i = 0; i < chunk_.n_tiles; ++i) {
      for (int p = 0; p < chunk_.n_panels; ++p) {
        add(chunk_.panels[p], chunk_.tiles[i], sums[p] + i * kRows);
      }
    }
  }

 private:
  // Stores the latest product and begins the next.
  void advance() {
    if (odd_) {
      _tile_stored(1, products_[1], 64);
    } else {
      _tile_stored(0, products_[0], 64);
    }
    odd_ = !odd_;
    if (!ahead_.done()) ahead_.multiply(odd_);
  }

  void add(const PanelChunk<Form>& panel, const TokenTile& tile, TokenSums* sums) {
    __m512 acc[kRows];
    CRIA_UNROLL
    for (int t = 0; t < kRows; ++t) acc[t] = _mm512_loadu_ps(sums[t]);
    const A8Block* blocks = tile.blocks;
    for (int g = 0; g < chunk_.n_groups; ++g, blocks += tile.stride) {
      advance();
      const Products& products = products_[odd_];
      CRIA_UNROLL
      for (int t = 0; t < kRows; ++t) {
        const __m512i sum = load_512(products[t]);
        acc[t] = add_group<Form>(&sum, panel.scales[g], blocks[t], acc[t]);
      }
    }
    CRIA_UNROLL
    for (int t = 0; t < kRows; ++t) _mm512_storeu_ps(sums[t], acc[t]);
  }

  const Chunk<Form>& chunk_;
  Walk<Form> ahead_;
  bool odd_ = false;
  alignas(64) Products products_[2];
};

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
  }

  void run() {
    const __m512i table = code_table<encoding>(0);
    const std::byte* panels =
        args_.panels + static_cast<std::size_t>(row_ / kPanelRows) * layout_.size_bytes;
    for (std::int64_t g = 0; g < n_groups_; g += kChunkGroups) {
      const int n = static_cast<int>(std::min<std::int64_t>(kChunkGroups, n_groups_ - g));
      for (int p = 0; p < n_panels_; ++p) {
        const std::byte* at = panels + static_cast<std::size_t>(p) * layout_.size_bytes;
        unpack<encoding, true>(spec::panel_regions(at, layout_), g, n, table, chunks_[p]);
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
    Pipeline<Form>({chunks_, n_panels_, n, tiles, n_tiles}).run(sums_);
  }

  const LinearA8Args& args_;
  const PanelLayout layout_;
  const std::int64_t n_groups_, row_;
  const int n_panels_;
  const std::int64_t first_;  // token
  const int n_tokens_;
  PaddedTokens padded_;
  alignas(64) PanelChunk<Form> chunks_[kChunkPanels];
  alignas(64) TokenSums sums_[kChunkPanels][kPassTokens];
};

// All panels for a pass of tokens before the next: the tokens then stay in the second-level cache,
// and so do the panels of a call for the passes to come.
template <Encoding encoding>
void run_rows(const LinearA8Args& args) {
  const AmxTiles tiles;
  const std::int64_t n_panels = (args.n_rows + kPanelRows - 1) / kPanelRows;
  for (std::int64_t first = 0; first < args.n_tokens; first += kPassTokens) {
    const auto n_tokens =
        static_cast<int>(std::min<std::int64_t>(kPassTokens, args.n_tokens - first));
    for (std::int64_t p = 0; p < n_panels; p += kChunkPanels) {
      const auto n = static_cast<int>(std::min<std::int64_t>(kChunkPanels, n_panels - p));
      Pass<encoding>(args, p * kPanelRows, n, first, n_tokens).run();
    }
  }
  _mm_sfence();  // of write_block
}

// Whether there were tiles for it: with a scale for 16 columns, half of each would be empty.
template <Encoding encoding>
bool linear_a8_of(const LinearA8Args& args) {
  if constexpr (FormOf<encoding>::kBlocks != 1) {
    return false;
  } else {
    if (args.n_tokens < kLeastTokens) return false;
    run_rows<encoding>(args);
    return true;
  }
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

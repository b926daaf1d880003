// linear_a8 with AMX-INT8, for enough tokens; fewer go to AVX-512 VNNI.
//
// tdpbssd multiplies 16 tokens by a group of a panel: its 32 columns of 16 rows lie as the tile
// wants them once codes are signed bytes. Sums leave the tile after every group, since a group has
// its own scales; then the same float operations follow as everywhere. Both kinds of work overlap:
// while the tiles multiply for 16 tokens, the sums of the 16 before are scaled.
#include <algorithm>

#include "kernels/isa.h"
#include "kernels/linear_a8/avx512.h"
#include "kernels/panel/amx.h"

namespace cria {
namespace amx {
namespace {

using namespace avx512;

// Fewer are faster without tiles (measured).
constexpr std::int64_t kLeastTokens = 24;
constexpr int kRows = kAmxRows;  // tokens of a tile
constexpr int kPassTokens = 4 * kA8TileTokens;

// A chunk of a panel for up to 16 tokens.
template <typename Form>
struct Job {
  const PanelChunk<Form>* panel;
  const std::int8_t* x;   // codes of the first token; groups lie `stride` tokens apart
  const A8Block* blocks;  // of the first token
  std::int64_t stride;
  int n_tokens;
  TokenSums* sums;
};

using Products = std::int32_t[kRows][kPanelRows];

// The tile registers are those of AmxTiles: their numbers are part of the instructions.
template <typename Form>
inline void multiply(const Job<Form>& job, int g, Products& out) {
  const std::int8_t* x = job.x + g * job.stride * kColumnGroup;
  _tile_loadd(4, job.panel->codes[g], 64);
  if (job.n_tokens == kRows) {
    _tile_zero(0);
    _tile_loadd(2, x, kColumnGroup);
    _tile_dpbssd(0, 2, 4);
    _tile_stored(0, out, 64);
  } else {
    _tile_zero(1);
    _tile_loadd(3, x, kColumnGroup);
    _tile_dpbssd(1, 3, 4);
    _tile_stored(1, out, 64);
  }
}

template <typename Form>
inline __m512 scaled(const Job<Form>& job, int g, int t, const Products& products, __m512 acc) {
  const __m512i sum = load_512(products[t]);
  return add_group<Form>(&sum, job.panel->scales[g], job.blocks[g * job.stride + t], acc);
}

// Jobs in a row, their groups multiplied a few ahead of those that are scaled.
template <typename Form>
class Pipeline {
 public:
  explicit Pipeline(int n_groups) : n_groups_(n_groups), lead_(std::min(n_groups, kLead)) {}

  // Finishes the job before, if there is one.
  void push(const Job<Form>& next) {
    if (!busy_) {
      for (int g = 0; g < lead_; ++g) multiply<Form>(next, g, slot(g));
    } else {
      finish_job(&next);
    }
    job_ = next;
    busy_ = true;
  }

  void finish() {
    if (busy_) finish_job(nullptr);
    busy_ = false;
  }

 private:
  static constexpr int kLead = 4;
  static constexpr int kSlots = 8;

  Products& slot(int step) { return products_[(step_ + step) % kSlots]; }

  // The group `lead_` after group g: of this job, or of the next.
  void multiply_ahead(int g, const Job<Form>* next) {
    if (g + lead_ < n_groups_) {
      multiply<Form>(job_, g + lead_, slot(lead_));
    } else if (next != nullptr) {
      multiply<Form>(*next, g + lead_ - n_groups_, slot(lead_));
    }
  }

  void finish_job(const Job<Form>* next) {
    __m512 acc[kRows];
    if (job_.n_tokens == kRows) {
      CRIA_UNROLL
      for (int t = 0; t < kRows; ++t) acc[t] = _mm512_loadu_ps(job_.sums[t]);
      for (int g = 0; g < n_groups_; ++g, ++step_) {
        multiply_ahead(g, next);
        const Products& products = slot(0);
        CRIA_UNROLL
        for (int t = 0; t < kRows; ++t) acc[t] = scaled<Form>(job_, g, t, products, acc[t]);
      }
      CRIA_UNROLL
      for (int t = 0; t < kRows; ++t) _mm512_storeu_ps(job_.sums[t], acc[t]);
      return;
    }
    for (int g = 0; g < n_groups_; ++g, ++step_) {
      multiply_ahead(g, next);
      for (int t = 0; t < job_.n_tokens; ++t) {
        const __m512 sum = _mm512_loadu_ps(job_.sums[t]);
        _mm512_storeu_ps(job_.sums[t], scaled<Form>(job_, g, t, slot(0), sum));
      }
    }
  }

  const int n_groups_, lead_;
  unsigned step_ = 0;
  bool busy_ = false;
  Job<Form> job_;
  alignas(64) Products products_[kSlots];
};

// A block of panels and a pass of tokens.
template <Encoding encoding>
struct Pass {
  using Form = FormOf<encoding>;
  const LinearA8Args& args;
  std::int64_t n_groups;
  std::int64_t first;  // token
  int n_tokens;
  int n_panels;
  alignas(64) PanelChunk<Form> chunks[kChunkPanels];
  alignas(64) TokenSums sums[kChunkPanels][kPassTokens];

  // The chunk of columns from group `g` on, unpacked before.
  void run_chunk(std::int64_t g, int n) {
    Pipeline<Form> pipeline(n);
    asm volatile("" : : : "memory");  // tileloadd reads what was unpacked; compilers do not know
    for (int t = 0; t < n_tokens; t += kRows) {
      const int tile = t / static_cast<int>(kA8TileTokens) * static_cast<int>(kA8TileTokens);
      const std::int64_t stride = std::min<std::int64_t>(kA8TileTokens, n_tokens - tile);
      const std::int64_t at = (first + tile) * n_groups + g * stride + (t - tile);
      for (int p = 0; p < n_panels; ++p) {
        pipeline.push({chunks + p, args.codes + at * kColumnGroup, args.blocks + at, stride,
                       std::min(kRows, n_tokens - t), sums[p] + t});
      }
    }
    pipeline.finish();
  }
};

template <Encoding encoding>
void run_pass(const LinearA8Args& args, const PanelLayout& layout, std::int64_t row, int n_panels,
              std::int64_t first, int n_tokens) {
  const __m512i table = code_table<encoding>(0);
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  Pass<encoding> pass = {args, n_groups, first, n_tokens, n_panels};
  const std::byte* panel =
      args.panels + static_cast<std::size_t>(row / kPanelRows) * layout.size_bytes;
  for (int p = 0; p < n_panels; ++p) {
    std::memset(pass.sums[p], 0, sizeof(TokenSums) * static_cast<std::size_t>(n_tokens));
  }
  for (std::int64_t g = 0; g < n_groups; g += kChunkGroups) {
    const int n = static_cast<int>(std::min<std::int64_t>(kChunkGroups, n_groups - g));
    for (int p = 0; p < n_panels; ++p) {
      const std::byte* at = panel + static_cast<std::size_t>(p) * layout.size_bytes;
      unpack<encoding, true>(spec::panel_regions(at, layout), g, n, table, pass.chunks[p]);
    }
    pass.run_chunk(g, n);
  }
  for (int p = 0; p < n_panels; ++p) {
    write_sums(args, pass.sums[p], row + p * kPanelRows, first, n_tokens);
  }
}

template <Encoding encoding>
void run_rows(const LinearA8Args& args) {
  const AmxTiles tiles(static_cast<int>(args.n_tokens % kRows));
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  const std::int64_t n_panels = (args.n_rows + kPanelRows - 1) / kPanelRows;
  for (std::int64_t p = 0; p < n_panels; p += kChunkPanels) {
    const int n = static_cast<int>(std::min<std::int64_t>(kChunkPanels, n_panels - p));
    for (std::int64_t first = 0; first < args.n_tokens; first += kPassTokens) {
      const std::int64_t left = args.n_tokens - first;
      run_pass<encoding>(args, layout, p * kPanelRows, n, first,
                         static_cast<int>(std::min<std::int64_t>(kPassTokens, left)));
    }
  }
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

#include "delegates/cpu/sparse_linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/aligned_buffer.h"

namespace cria {
namespace {

constexpr std::int64_t kTileTokens = kA8TileTokens;

// Panels that the matrix has in full, for activations of which some are not finite: zero times
// infinity is not a number, so no block may be left out.
class FullPanel {
 public:
  FullPanel(const ZeroBlocksView& matrix, std::size_t size_bytes)
      : matrix_(matrix), size_bytes_(size_bytes) {}
  const std::byte* fill(std::int64_t panel) {
    bytes_.resize(size_bytes_ + kVectorAlignment);  // only where it is needed
    const auto at = reinterpret_cast<std::uintptr_t>(bytes_.data());
    std::byte* start = bytes_.data() + (align_up(at, kVectorAlignment) - at);
    matrix_.fill_panel(panel, {start, size_bytes_});
    return start;
  }

 private:
  const ZeroBlocksView& matrix_;
  std::size_t size_bytes_;
  std::vector<std::byte> bytes_;
};

template <typename Args>
Args rows_of_panel(const Args& args, std::int64_t panel, std::int64_t token,
                   std::int64_t n_tokens) {
  Args part = args;
  part.n_rows = std::min<std::int64_t>(kPanelRows, args.n_rows - panel * kPanelRows);
  part.n_tokens = n_tokens;
  part.out = args.out + token * args.out_stride + panel * kPanelRows;
  return part;
}

// Outputs of rows that have no weights.
template <typename Args>
void write_zeros(const Args& part) {
  if (part.accumulate) return;
  for (std::int64_t t = 0; t < part.n_tokens; ++t) {
    std::fill_n(part.out + t * part.out_stride, part.n_rows, 0.0f);
  }
}

// The codes and blocks of the groups that a panel keeps, side by side. Of one token, which is most
// of what decode does here beside multiplying, a group is one register.
void gather_groups(std::span<const std::uint16_t> groups, std::int64_t n_tokens,
                   const LinearA8Args& tile, std::int8_t* codes, A8Block* blocks) {
  const auto n_groups = static_cast<std::int64_t>(groups.size());
  if (n_tokens == 1) {
    for (std::int64_t i = 0; i < n_groups; ++i) {
      std::memcpy(codes + i * kColumnGroup, tile.codes + groups[i] * kColumnGroup, kColumnGroup);
      blocks[i] = tile.blocks[groups[i]];
    }
    return;
  }
  const std::int64_t group_bytes = n_tokens * kColumnGroup;
  for (std::int64_t i = 0; i < n_groups; ++i) {
    std::memcpy(codes + i * group_bytes, tile.codes + groups[i] * group_bytes,
                static_cast<std::size_t>(group_bytes));
    std::copy_n(tile.blocks + groups[i] * n_tokens, n_tokens, blocks + i * n_tokens);
  }
}

}  // namespace

void sparse_linear_a8(const Kernels& kernels, const ZeroBlocksView& matrix,
                      std::int64_t first_panel, LinearA8Args args) {
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const std::int64_t n_panels = (args.n_rows + kPanelRows - 1) / kPanelRows;
  const std::int64_t most = std::min(kTileTokens, args.n_tokens);
  std::vector<std::int8_t> codes(static_cast<std::size_t>(n_groups * most * kColumnGroup));
  std::vector<A8Block> blocks(static_cast<std::size_t>(n_groups * most));
  FullPanel full(matrix, panel_layout(args.encoding, args.n_cols).size_bytes);
  for (std::int64_t first = 0; first < args.n_tokens; first += kTileTokens) {
    const std::int64_t n = std::min(kTileTokens, args.n_tokens - first);
    const A8Block* tile_blocks = args.blocks + first * n_groups;
    const std::int8_t* tile_codes = args.codes + first * n_groups * kColumnGroup;
    const bool finite = std::all_of(tile_blocks, tile_blocks + n_groups * n,
                                    [](const A8Block& b) { return std::isfinite(b.scale); });
    for (std::int64_t p = 0; p < n_panels; ++p) {
      LinearA8Args part = rows_of_panel(args, p, first, n);
      const ZeroBlocksView::Panel panel = matrix.panel(first_panel + p);
      part.panels = panel.packed;
      part.codes = tile_codes;
      part.blocks = tile_blocks;
      if (!finite) {
        part.panels = full.fill(first_panel + p);
      } else if (panel.groups.empty()) {
        write_zeros(part);
        continue;
      } else if (static_cast<std::int64_t>(panel.groups.size()) < n_groups) {
        gather_groups(panel.groups, n, part, codes.data(), blocks.data());
        part.n_cols = static_cast<std::int64_t>(panel.groups.size()) * kColumnGroup;
        part.codes = codes.data();
        part.blocks = blocks.data();
      }
      kernels.linear_a8(part);
    }
  }
}

void sparse_linear_a16(const Kernels& kernels, const ZeroBlocksView& matrix,
                       std::int64_t first_panel, LinearA16Args args) {
  const std::int64_t n_groups = a8_blocks(args.n_cols), width = n_groups * kColumnGroup;
  const std::int64_t n_panels = (args.n_rows + kPanelRows - 1) / kPanelRows;
  const std::int64_t most = std::min(kTileTokens, args.n_tokens);
  std::vector<float> x(static_cast<std::size_t>(most * width));
  FullPanel full(matrix, panel_layout(args.encoding, args.n_cols).size_bytes);
  for (std::int64_t first = 0; first < args.n_tokens; first += kTileTokens) {
    const std::int64_t n = std::min(kTileTokens, args.n_tokens - first);
    const float* tile = args.x + first * args.x_stride;
    bool finite = true;
    for (std::int64_t t = 0; t < n; ++t) {
      const float* row = tile + t * args.x_stride;
      finite &= std::all_of(row, row + args.n_cols, [](float v) { return std::isfinite(v); });
    }
    for (std::int64_t p = 0; p < n_panels; ++p) {
      LinearA16Args part = rows_of_panel(args, p, first, n);
      const ZeroBlocksView::Panel panel = matrix.panel(first_panel + p);
      part.panels = panel.packed;
      part.x = tile;
      if (!finite) {
        part.panels = full.fill(first_panel + p);
      } else if (panel.groups.empty()) {
        write_zeros(part);
        continue;
      } else if (static_cast<std::int64_t>(panel.groups.size()) < n_groups) {
        part.n_cols = static_cast<std::int64_t>(panel.groups.size()) * kColumnGroup;
        for (std::int64_t t = 0; t < n; ++t) {
          for (std::size_t i = 0; i < panel.groups.size(); ++i) {
            const std::int64_t k = panel.groups[i] * kColumnGroup;
            const std::int64_t n_real = std::min<std::int64_t>(kColumnGroup, args.n_cols - k);
            float* to = x.data() + t * width + static_cast<std::int64_t>(i) * kColumnGroup;
            std::fill(std::copy_n(tile + t * args.x_stride + k, n_real, to), to + kColumnGroup,
                      0.0f);
          }
        }
        part.x = x.data();
        part.x_stride = width;
      }
      kernels.linear_a16(part);
    }
  }
}

}  // namespace cria

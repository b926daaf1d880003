// A packed matrix without its zero blocks. A block is a group of 32 columns of a panel of 16 rows,
// all of whose weights are zero: neither stored nor multiplied. What is kept of a panel is a panel
// of fewer columns, so kernels read it as it is, with the activations of the same groups.
//
// Layout (little-endian, every part at a multiple of 64 bytes):
//
//   header   u32 "CZBK", u32 number of panels
//   index    for each panel: u64 where it starts, u32 how many groups are kept, u32 zero
//   panels   u16 numbers of the groups that are kept, rising; then their panel: the codes and
//   scales
//            of panel_layout(encoding, 32 * kept)
//
// For encodings in blocks of 32 columns with a scale of their own and no min.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "tensor/encoding.h"

namespace cria {

// Whether a matrix of this encoding and width can do without its zero blocks.
bool can_drop_zero_blocks(Encoding encoding, std::int64_t n_cols);

// Which blocks are kept: [panel][group].
struct KeptBlocks {
  std::int64_t n_panels = 0;
  std::int64_t n_groups = 0;       // of a panel
  std::vector<std::uint8_t> kept;  // 0 or 1

  std::vector<std::uint16_t> of_panel(std::int64_t panel) const;
};

// Bytes of all, and of header and index alone. REQUIRES: can_drop_zero_blocks.
std::size_t zero_blocks_bytes(Encoding encoding, const KeptBlocks& blocks);
std::size_t zero_blocks_index_bytes(std::int64_t n_panels);

// Header and index, and then panel after panel: the stored form of the same panel in full.
std::vector<std::byte> zero_blocks_index(Encoding encoding, const KeptBlocks& blocks);
void drop_zero_blocks(Encoding encoding, std::span<const std::byte> panel,
                      std::span<const std::uint16_t> groups, std::vector<std::byte>& out);

// A matrix of this form, read where it lies: `bytes` must outlive it.
class ZeroBlocksView {
 public:
  struct Panel {
    std::span<const std::uint16_t> groups;  // those that are kept
    const std::byte* packed = nullptr;      // a panel of 32 * groups.size() columns, if any
  };

  // Checks everything. kBadInput: bytes that are no such matrix of this shape.
  static Result<ZeroBlocksView> open(Encoding encoding, std::int64_t n_rows, std::int64_t n_cols,
                                     std::span<const std::byte> bytes);

  Panel panel(std::int64_t index) const;
  // The panel in full. `out` has panel_layout(encoding, n_cols).size_bytes bytes.
  void fill_panel(std::int64_t index, std::span<std::byte> out) const;

 private:
  ZeroBlocksView(Encoding encoding, std::int64_t n_cols, std::span<const std::byte> bytes)
      : encoding_(encoding), n_cols_(n_cols), bytes_(bytes) {}
  Status check_panel(std::int64_t index, std::int64_t n_groups) const;

  Encoding encoding_;
  std::int64_t n_cols_;
  std::span<const std::byte> bytes_;
};

}  // namespace cria

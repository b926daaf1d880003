// Matrices without their zero blocks that nobody vouches for: what opens can be read whole.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tensor/zero_blocks.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::int64_t kRows = 20, kCols = 96;
  // A valid index, of which the input changes bytes: pairs of a place and a value.
  cria::KeptBlocks blocks = {2, 3, {1, 0, 1, 0, 1, 0}};
  std::vector<std::byte> bytes = cria::zero_blocks_index(cria::Encoding::kQ4, blocks);
  const std::vector<std::byte> panel(cria::panel_layout(cria::Encoding::kQ4, kCols).size_bytes,
                                     std::byte{7});
  for (std::int64_t p = 0; p < 2; ++p) {
    cria::drop_zero_blocks(cria::Encoding::kQ4, panel, blocks.of_panel(p), bytes);
  }
  for (std::size_t i = 0; i + 2 < size; i += 3) {
    bytes[(data[i] | data[i + 1] << 8) % bytes.size()] = std::byte{data[i + 2]};
  }
  if (size % 3 == 1) bytes.resize(bytes.size() * data[0] / 256);
  const auto view = cria::ZeroBlocksView::open(cria::Encoding::kQ4, kRows, kCols, bytes);
  if (!view.ok()) return 0;
  std::vector<std::byte> out(panel.size());
  for (std::int64_t p = 0; p < 2; ++p) view->fill_panel(p, out);
  return 0;
}

#include "compile/find_zeros.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "tensor/storage_type.h"

namespace cria {
namespace {

bool is_zero(std::span<const float> row, std::int64_t group) {
  const auto first = row.begin() + group * kColumnGroup;
  const auto n = std::min<std::int64_t>(kColumnGroup, row.end() - first);
  return std::all_of(first, first + n, [](float w) { return w == 0.0f; });
}

bool two_in_four(std::span<const float> row) {
  for (std::size_t k = 0; k < row.size(); k += 4) {
    const auto n = std::min<std::size_t>(4, row.size() - k);
    const auto four = row.subspan(k, n);
    if (std::ranges::count_if(four, [](float w) { return w != 0.0f; }) > 2) return false;
  }
  return true;
}

}  // namespace

KeptBlocks find_kept_blocks(ThreadPool& pool, const StoredWeight& stored) {
  KeptBlocks blocks;
  blocks.n_panels = (stored.n_rows + kPanelRows - 1) / kPanelRows;
  blocks.n_groups = (stored.n_cols + kColumnGroup - 1) / kColumnGroup;
  blocks.kept.assign(static_cast<std::size_t>(blocks.n_panels * blocks.n_groups), 0);
  pool.parallel_for(blocks.n_panels, [&](std::int64_t p, int) {
    std::vector<float> row(static_cast<std::size_t>(stored.n_cols));
    const auto kept = std::span(blocks.kept).subspan(p * blocks.n_groups, blocks.n_groups);
    const std::int64_t end = std::min(stored.n_rows, (p + 1) * kPanelRows);
    // As soon as nothing can be zero any more, the other rows need not be read.
    for (std::int64_t r = p * kPanelRows; r < end && std::ranges::count(kept, 0) > 0; ++r) {
      stored.decode_row(r, row);
      for (std::int64_t g = 0; g < blocks.n_groups; ++g) {
        if (kept[g] == 0 && !is_zero(row, g)) kept[g] = 1;
      }
    }
  });
  return blocks;
}

bool has_two_in_four(ThreadPool& pool, const StoredWeight& stored) {
  std::atomic<bool> holds = true;
  const std::int64_t n_panels = (stored.n_rows + kPanelRows - 1) / kPanelRows;
  pool.parallel_for(n_panels, [&](std::int64_t p, int) {
    if (!holds.load(std::memory_order_relaxed)) return;
    std::vector<float> row(static_cast<std::size_t>(stored.n_cols));
    const std::int64_t end = std::min(stored.n_rows, (p + 1) * kPanelRows);
    for (std::int64_t r = p * kPanelRows; r < end; ++r) {
      stored.decode_row(r, row);
      if (!two_in_four(row)) return holds.store(false, std::memory_order_relaxed);
    }
  });
  return holds;
}

Encoding pairs_encoding(Encoding plain) {
  if (plain == Encoding::kQ4) return Encoding::kQ4S24;
  if (plain == Encoding::kQ8) return Encoding::kQ8S24;
  return plain;
}

}  // namespace cria

// Asking the system for large pages.
#pragma once

#include <cstddef>
#include <span>

namespace cria {

// Tells the system that `memory`, fresh from it and page-aligned, is worth huge pages: fewer
// misses of the table of pages where a kernel walks over many rows. Untouched parts may then take
// memory, up to a huge page around what is touched. No effect where the system has none. Of a
// mapped file: as far as it is not in memory yet, and where its file system has pages of that size
// (Linux 6.18 with ext4 has).
void prefer_huge_pages(std::span<const std::byte> memory);

}  // namespace cria

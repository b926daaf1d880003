// Asking the system for large pages.
#pragma once

#include <cstddef>
#include <span>

namespace cria {

// Tells the system that `memory`, fresh from it and page-aligned, is worth huge pages: fewer
// misses of the table of pages where a kernel walks over many rows. Untouched parts may then take
// memory, up to a huge page around what is touched. No effect where the system has none.
void prefer_huge_pages(std::span<std::byte> memory);

}  // namespace cria

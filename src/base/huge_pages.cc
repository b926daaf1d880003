#include "base/huge_pages.h"

#include <sys/mman.h>

namespace cria {

void prefer_huge_pages([[maybe_unused]] std::span<const std::byte> memory) {
#if defined(MADV_HUGEPAGE)
  // Advice: a system that refuses it gives small pages, which are slower and right as well.
  if (!memory.empty()) madvise(const_cast<std::byte*>(memory.data()), memory.size(), MADV_HUGEPAGE);
#endif
}

}  // namespace cria

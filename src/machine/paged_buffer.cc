#include "machine/paged_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <fstream>
#include <string>

namespace cria {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// "always [madvise] never": whether what is in brackets lets a program ask for huge pages.
bool system_gives_huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string text;
  return std::getline(file, text) && text.find("[never]") == std::string::npos;
}

}  // namespace

Result<PagedBuffer> PagedBuffer::allocate(std::size_t size_bytes, Pages pages) {
  if (pages == Pages::kHuge && !system_gives_huge_pages()) {
    return unsupported("this system gives no transparent huge pages");
  }
  PagedBuffer buffer;
  CRIA_ASSIGN_OR_RETURN(buffer.memory_, AlignedBuffer::allocate(size_bytes + kHugePageBytes));
  const auto address = reinterpret_cast<std::uintptr_t>(buffer.memory_.data());
  const std::size_t offset = align_up(address, kHugePageBytes) - address;
  buffer.bytes_ = buffer.memory_.bytes().subspan(offset, size_bytes);
#if defined(MADV_HUGEPAGE)
  const int advice = pages == Pages::kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
  // A kernel without huge pages refuses both, and gives small ones.
  const int refused = madvise(buffer.bytes_.data(), size_bytes, advice);
  if (refused != 0 && pages == Pages::kHuge) {
    return unsupported("this system gives no transparent huge pages");
  }
#endif
  return buffer;
}

}  // namespace cria

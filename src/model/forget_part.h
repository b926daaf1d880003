// Of a mapped checkpoint, what is not needed any more.
#pragma once

#include <functional>
#include <span>

#include "base/mapped_file.h"

namespace cria {

// If `bytes` lie in `file`, their pages need not stay resident.
inline void forget_part(const MappedFile& file, std::span<const std::byte> bytes) {
  const std::span<const std::byte> whole = file.bytes();
  const std::less_equal<const std::byte*> before;  // the spans may be of different mappings
  if (bytes.empty() || !before(whole.data(), bytes.data()) ||
      !before(bytes.data() + bytes.size(), whole.data() + whole.size())) {
    return;
  }
  file.forget(static_cast<std::size_t>(bytes.data() - whole.data()), bytes.size());
}

}  // namespace cria

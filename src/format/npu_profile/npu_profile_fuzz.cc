// Any text is refused, or gives a profile whose every number can be used.
#include <cmath>
#include <cstdlib>

#include "format/npu_profile/npu_profile.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto profile = cria::parse_npu_profile(text, "fuzz");
  if (!profile.ok()) return 0;
  for (std::uint32_t state = 0; state < profile->clock.states.size(); ++state) {
    if (!(profile->dram_bytes_per_s(state) > 0)) std::abort();
  }
  for (double bytes : {0.0, 1.0, 5000.0, 1e12}) {
    const double share = profile->dma.share(bytes);
    if (!(share > 0 && share <= 1)) std::abort();
  }
  return 0;
}

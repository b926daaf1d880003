// Asking for panels ahead of their use, on x86. Internal linkage throughout, as in panel/generic.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/panel/generic.h"

namespace cria::avx2 {
namespace {

// How far ahead codes are asked for, and into which cache.
struct Prefetch {
  enum class Into { kNothing, kFirstLevel, kSecondLevel };

  Into into;
  int bytes;
};

// Of n_panels side by side, on AMD. A Zen 4 core has few places where the first-level cache waits
// for memory: into that one it reads 14 to 16 GB/s, two cores 27 to 30, into the second-level cache
// 22 and 31 to 37 (q4, 1 token, four panels; without asking 21 and 30 to 32; 512, 1024 and 4096
// bytes ahead 21, 21 and 21, 30 to 33). Two panels, 4 tokens: 12, 16, 18.5 and 18.5 GB/s at 1024,
// 2048, 4096 and 8192 bytes, two cores 20, 28, 31 and 30; into the first-level cache 15 and 25 at
// best.
inline Prefetch amd_prefetch(int n_panels) {
  return {Prefetch::Into::kSecondLevel, 8192 / n_panels};
}

inline bool is_amd() {
  static const bool is = __builtin_cpu_is("amd");
  return is;
}

// Asks for a panel's codes that are prefetch.bytes behind those of group g: at its end for those of
// the panel that is read next, `next` bytes behind it.
template <Encoding encoding>
inline void ask_for_codes(const spec::PanelRegions& panel, std::int64_t g, std::int64_t n_groups,
                          std::size_t next, const Prefetch& prefetch) {
  constexpr int kGroupBytes = encoding_spec(encoding).group_bytes();
  const std::int64_t ahead = g + prefetch.bytes / kGroupBytes;
  const std::uint8_t* codes = panel.codes + (ahead < n_groups ? 0 : next) +
                              (ahead < n_groups ? ahead : ahead - n_groups) * kGroupBytes;
  for (int line = 0; line < kGroupBytes; line += 64) {
    // As assembly: of a choice between two _mm_prefetch in this place GCC 12 makes none.
    if (prefetch.into == Prefetch::Into::kSecondLevel) {
      asm volatile("prefetcht1 %0" : : "m"(codes[line]));
    } else if (prefetch.into == Prefetch::Into::kFirstLevel) {
      asm volatile("prefetcht0 %0" : : "m"(codes[line]));
    }
  }
}

// Asks for the codes of groups [first, first + n_groups) of a panel, into the second-level cache.
template <Encoding encoding>
inline void ask_for_groups(const spec::PanelRegions& panel, std::int64_t first,
                           std::int64_t n_groups) {
  constexpr std::int64_t kGroupBytes = encoding_spec(encoding).group_bytes();
  const std::uint8_t* codes = panel.codes + first * kGroupBytes;
  for (std::int64_t line = 0; line < n_groups * kGroupBytes; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(codes + line), _MM_HINT_T1);
  }
}

// Asks for the regions of scales and mins of panels that follow each other, into the second-level
// cache. They are short runs that the processor does not foresee, and lines asked for one by one,
// at whatever distance, come at 6 to 9 GB/s, those of a run at 15 to 25. Measured from memory, one
// Xeon core, AVX-512 VNNI, 2048 columns, share of the read bandwidth without and with: q4nlk 78,
// 95 %; q4kmin 70, 98; q3k 63, 90. (q2kmin, in regions like the others, 58, 81; behind its codes
// 100.)
inline void ask_for_scales(const std::byte* panel, const PanelLayout& layout, int n_panels) {
  for (int p = 0; p < n_panels; ++p, panel += layout.size_bytes) {
    for (std::size_t at = layout.groups_end; at < layout.size_bytes; at += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(panel + at), _MM_HINT_T1);
    }
  }
}

}  // namespace
}  // namespace cria::avx2

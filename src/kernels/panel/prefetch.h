// Asking for panels ahead of their use, on x86. Internal linkage throughout, as in panel/generic.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/panel/generic.h"
#include "kernels/panel/unroll.h"

namespace cria::avx2 {
namespace {

// How far ahead codes are asked for, and into which cache.
struct Prefetch {
  enum class Into { kNothing, kFirstLevel, kSecondLevel };

  Into into;
  int bytes;
};

// Of n_panels side by side, on AMD. (Measured while scales followed all codes of a panel.) A Zen 4
// core has few places where the first-level cache waits for memory: into that one it reads 14 to 16
// GB/s, two cores 27 to 30, into the second-level cache 22 and 31 to 37 (q4, 1 token, four panels;
// without asking 21 and 30 to 32; 512, 1024 and 4096 bytes ahead 21, 21 and 21, 30 to 33). Two
// panels, 4 tokens: 12, 16, 18.5 and 18.5 GB/s at 1024, 2048, 4096 and 8192 bytes, two cores 20,
// 28, 31 and 30; into the first-level cache 15 and 25 at best.
//
// Lines that are asked for together shall not lie at the same place of their pages: of two panels
// 36 or 72 KB long (8 tokens) that costs a tenth.
inline Prefetch amd_prefetch(int n_panels, int panel, const PanelLayout& layout) {
  constexpr int kPage = 4096;
  const auto apart = static_cast<int>(panel * layout.size_bytes % kPage);
  const int shift = (panel * kPage / n_panels - apart + kPage) % kPage;
  return {Prefetch::Into::kSecondLevel, 8192 / n_panels + shift};
}

inline Prefetch no_prefetch() { return {Prefetch::Into::kNothing, 0}; }

inline bool is_amd() {
  static const bool is = __builtin_cpu_is("amd");
  return is;
}

// Reads of each line of a group, from first to last, a byte: where a kernel begins with a later one
// (scales come after products, planes of high bits with the first quad) the processor takes its
// time to see a stream. One Zen 4 core, AVX-512 VNNI, 1 token, GB/s without and with: q8 26 and 31,
// q5 21 and 29, q6k 25 and 28, q4 31 and 31. (AVX2 loses by it: 0.7 to 1.0 x.)
template <Encoding encoding>
inline void touch_lines(const spec::Group& group) {
  constexpr EncodingSpec kSpec = encoding_spec(encoding);
  const auto touch = [](const void* line) {
    int byte;
    asm volatile("movzbl %1, %0" : "=r"(byte) : "m"(*static_cast<const std::uint8_t*>(line)));
  };
  if constexpr (kSpec.scale == ScaleKind::kSuper) touch(group.supers);
  touch(group.scales);
  if constexpr (kSpec.bits == 5 || kSpec.bits == 6) {
    for (int line = 0; line < kSpec.group_bytes(); line += 64) touch(group.codes + line);
  }
}

// Asks for the activations of a group a little ahead, which wait in the second-level cache: between
// two panels of many columns the first level loses them, and where a processor misses them its eye
// for the stream of weights suffers. `x`, `blocks`: of the first group, n_tokens each. One Zen 4
// core, q4, 1 token, 8192 columns, 25 GB/s without, 32 with; 4096 27 and 29, 2048 the same.
inline void ask_for_activations(const std::int8_t* x, const A8Block* blocks, int n_tokens,
                                std::int64_t g, std::int64_t n_groups) {
  const auto ask = [&](const auto* first, std::int64_t ahead, std::int64_t step) {
    const std::int64_t at = g + ahead < n_groups ? g + ahead : 0;  // the next panel begins anew
    asm volatile("prefetcht0 %0" : : "m"(first[at * step]));
  };
  ask(x, 4, n_tokens * kColumnGroup);
  ask(blocks, 8, n_tokens);
}

// Asks for what is read prefetch.bytes behind a group: at a panel's end for that of the panel that
// is read next, `next` bytes behind it.
template <Encoding encoding>
inline void ask_ahead(const std::byte* panel, const spec::GroupWalk<encoding>& walk,
                      const PanelLayout& layout, std::size_t next, const Prefetch& prefetch) {
  if (prefetch.into == Prefetch::Into::kNothing) return;
  constexpr int kGroupBytes = encoding_spec(encoding).group_bytes();
  auto end = static_cast<std::size_t>(walk.end() + prefetch.bytes);
  const std::size_t begin = end - static_cast<std::size_t>(walk.end() - walk.begin());
  if (end > layout.size_bytes) panel += next - layout.size_bytes;
  const auto ask = [&](std::size_t at) {
    // As assembly: of a choice between two _mm_prefetch in this place GCC 12 makes none.
    if (prefetch.into == Prefetch::Into::kSecondLevel) {
      asm volatile("prefetcht1 %0" : : "m"(panel[at]));
    } else {
      asm volatile("prefetcht0 %0" : : "m"(panel[at]));
    }
  };
  CRIA_UNROLL
  for (int line = 0; line < kGroupBytes; line += 64) ask(end -= 64);
  while (end > begin) ask(end -= 64);
}

// Lines that are read some time later, of panels that follow each other the same part of each,
// asked for a few at a time. All at once they would take the places where the first-level cache
// waits for memory, and what the products of that time read from the second-level cache would wait
// behind them. Two Zen 4 cores, q4, 128 tokens, 2048 columns: 74.1 % of the int8 peak with all
// lines of a panel at once, as without asking, 78.1 % so.
class LinesAhead {
 public:
  // [begin, end) of the first panel, whole lines; all of them take n_asks.
  LinesAhead(const std::byte* begin, const std::byte* end, std::size_t panel_bytes, int n_panels,
             int n_asks)
      : begin_(begin),
        bytes_(end - begin),
        panel_bytes_(panel_bytes),
        n_left_(n_panels),
        at_once_((bytes_ / 64 * n_panels + n_asks - 1) / n_asks) {}

  void ask() {
    for (std::int64_t i = 0; i < at_once_ && n_left_ > 0; ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(begin_ + at_), _MM_HINT_T1);
      at_ += 64;
      if (at_ < bytes_) continue;
      at_ = 0;
      begin_ += panel_bytes_;
      --n_left_;
    }
  }

 private:
  const std::byte* begin_;  // of what is asked for of a panel
  std::int64_t bytes_;
  std::size_t panel_bytes_;
  int n_left_;  // panels
  std::int64_t at_once_;
  std::int64_t at_ = 0;
};

}  // namespace
}  // namespace cria::avx2

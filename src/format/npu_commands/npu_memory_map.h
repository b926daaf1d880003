// Who wrote every byte of a memory, and who has read it since: ranges that were touched alike, by
// address.
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "format/npu_commands/npu_commands.h"

namespace cria {

class NpuMemoryMap {
 public:
  struct Range {
    std::uint64_t end = 0;
    std::uint32_t writer = kNpuNone;  // a run
    std::uint32_t buffer = kNpuNone;  // through which it wrote
    std::array<std::uint32_t, kNpuEngines> readers{kNpuNone, kNpuNone, kNpuNone, kNpuNone,
                                                   kNpuNone};  // the last run each
  };

  // Calls visit(start, range) for what was touched in [start, end), cut to it; holes are passed
  // over. Returns the bytes that were visited. `visit` may change writer, buffer and readers.
  template <typename Visit>
  std::uint64_t visit(std::uint64_t start, std::uint64_t end, const Visit& visit) {
    split(start);
    split(end);
    std::uint64_t bytes = 0;
    for (auto at = ranges_.lower_bound(start); at != ranges_.end() && at->first < end; ++at) {
      visit(at->first, at->second);
      bytes += at->second.end - at->first;
    }
    return bytes;
  }
  // [start, end) becomes one range, written by `writer` and read by nobody.
  void write(std::uint64_t start, std::uint64_t end, std::uint32_t writer, std::uint32_t buffer) {
    split(start);
    split(end);
    ranges_.erase(ranges_.lower_bound(start), ranges_.lower_bound(end));
    Range range;
    range.end = end;
    range.writer = writer;
    range.buffer = buffer;
    ranges_[start] = range;
  }

 private:
  // A range that reaches over `at` becomes two.
  void split(std::uint64_t at) {
    auto behind = ranges_.lower_bound(at);
    if (behind == ranges_.begin()) return;
    const auto before = std::prev(behind);
    if (before->second.end <= at) return;
    Range rest = before->second;
    before->second.end = at;
    ranges_.emplace_hint(behind, at, rest);
  }

  std::map<std::uint64_t, Range> ranges_;  // by start, disjoint
};

}  // namespace cria

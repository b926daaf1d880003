#include "npu_plan/queue.h"

#include <algorithm>

namespace cria {
namespace {

// Each device does one thing at a time: what they have in common are the overlaps of their runs.
std::int64_t both_at_work(std::span<const QueuedPart> parts, std::span<const PartTimes> times) {
  std::int64_t both_ps = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (std::size_t k = 0; k < parts.size(); ++k) {
      if (!parts[i].on_npu || parts[k].on_npu) continue;
      both_ps += std::max<std::int64_t>(0, std::min(times[i].end_ps, times[k].end_ps) -
                                               std::max(times[i].start_ps, times[k].start_ps));
    }
  }
  return both_ps;
}

}  // namespace

QueueTimes run_queue(std::span<const QueuedPart> parts, const QueueCosts& costs) {
  QueueTimes times;
  std::int64_t host = 0, npu = 0;
  std::vector<std::size_t> submitted;
  for (const QueuedPart& part : parts) {
    PartTimes& own = times.parts.emplace_back();
    std::int64_t ready = 0;
    for (const std::size_t before : part.after) {
      const bool told = parts[before].on_npu && !part.on_npu;
      ready = std::max(ready, times.parts[before].end_ps + (told ? costs.complete_ps : 0));
    }
    if (!part.on_npu) {
      own.submit_ps = own.start_ps = std::max(host, ready);
      host = own.end_ps = own.start_ps + part.run_ps;
      continue;
    }
    if (submitted.size() >= costs.queue_depth) {
      const std::size_t oldest = submitted[submitted.size() - costs.queue_depth];
      host = std::max(host, times.parts[oldest].end_ps + costs.complete_ps);
    }
    own.submit_ps = host;
    own.start_ps = std::max({host + costs.submit_ps, npu, ready});
    npu = own.end_ps = own.start_ps + part.run_ps;
    host += part.n_submissions * costs.submit_ps;
    submitted.push_back(times.parts.size() - 1);
  }
  times.end_ps = submitted.empty() ? host : std::max(host, npu + costs.complete_ps);
  times.both_ps = both_at_work(parts, times.parts);
  return times;
}

}  // namespace cria

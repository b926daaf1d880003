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

struct Span {
  std::int64_t begin = 0, end = 0;
};

// What is left of the call where no part runs.
std::vector<Span> gaps_between(std::span<const PartTimes> parts, std::int64_t end) {
  std::vector<Span> runs;
  for (const PartTimes& part : parts) runs.push_back({part.start_ps, part.end_ps});
  runs.push_back({end, end});
  std::ranges::sort(runs, {}, &Span::begin);
  std::vector<Span> gaps;
  std::int64_t done = 0;
  for (const Span& run : runs) {
    if (run.begin > done) gaps.push_back({done, run.begin});
    done = std::max(done, run.end);
  }
  return gaps;
}

void add_handing_over(std::span<const QueuedPart> parts, const QueueCosts& costs,
                      QueueTimes& times) {
  for (const Span& gap : gaps_between(times.parts, times.end_ps)) {
    std::int64_t submitting = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i].on_npu) continue;
      const std::int64_t begin = times.parts[i].submit_ps,
                         end = begin + parts[i].n_submissions * costs.submit_ps;
      submitting += std::max<std::int64_t>(0, std::min(gap.end, end) - std::max(gap.begin, begin));
    }
    times.submit_ps += submitting;
    times.complete_ps += gap.end - gap.begin - submitting;
  }
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
  add_handing_over(parts, costs, times);
  return times;
}

}  // namespace cria

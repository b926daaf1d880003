// One call that an NPU and the processor beside it share, on one clock: submission, completion,
// dependencies.
//
// The host goes through the parts in order. A part of its own it runs once all that it depends on
// is done, and it waits for that; a part of the NPU it submits and goes on. The NPU takes its parts
// one after the other, each once its first submission is there and what it depends on is done. At
// most `queue_depth` parts are submitted and not done; the host waits before it submits one more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cria {

struct QueuedPart {
  bool on_npu = false;
  std::int64_t run_ps = 0;
  std::vector<std::size_t> after;  // earlier parts
  std::int64_t n_submissions = 1;  // of a part of the NPU, which begins when the first is there
};

struct QueueCosts {
  std::int64_t submit_ps = 0;    // of the host, for each submission
  std::int64_t complete_ps = 0;  // from the end of a part of the NPU until the host knows
  std::size_t queue_depth = 1;
};

struct PartTimes {
  std::int64_t submit_ps = 0;             // when the host begins to submit it
  std::int64_t start_ps = 0, end_ps = 0;  // of its run
};

struct QueueTimes {
  std::vector<PartTimes> parts;
  std::int64_t end_ps = 0;   // all is done, and the host knows
  std::int64_t both_ps = 0;  // runs of both at once
  // No part runs: while the host submits one, and while it is told of an end. With the runs these
  // add up to the whole.
  std::int64_t submit_ps = 0, complete_ps = 0;
};

// REQUIRES: `after` names earlier parts only; a queue depth of at least 1.
QueueTimes run_queue(std::span<const QueuedPart> parts, const QueueCosts& costs);

}  // namespace cria

// The loops that show what a processor can do, shared among threads: a run of one is short, so that
// some run is left undisturbed, and long beside handing it out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/peak/peak.h"
#include "machine/paged_buffer.h"

namespace cria {

// The dot loops that this processor has, by the names that a report gives them.
struct NamedDotLoop {
  const char* type;
  DotLoop loop;
};
std::vector<NamedDotLoop> dot_loops();

// Reads memory that is several times the last cache. A run goes on behind the one before, so that
// it finds nothing in a cache.
class ReadRuns {
 public:
  static constexpr std::int64_t kTasksPerRun = 32;

  // `size_bytes`: 0: several times the last cache, at most an eighth of the memory. Errors of
  // PagedBuffer. `pool` brings the pages into memory.
  static Result<ReadRuns> allocate(Pages pages, std::uint64_t size_bytes, ThreadPool& pool);

  // Reads `n_tasks` pieces; returns their bytes.
  double run(ThreadPool& pool, std::int64_t n_tasks = kTasksPerRun);

  std::uint64_t size_bytes() const;

 private:
  PagedBuffer buffer_;
  std::int64_t n_tasks_ = 0;  // in all of the memory
  std::int64_t next_ = 0;
  void (*read_)(const std::byte*, std::size_t) = nullptr;
};

// Multiply-adds from registers.
class DotRuns {
 public:
  // Tries how many rounds make a task that is long enough to be timed.
  explicit DotRuns(const DotLoop& loop);

  // Returns the multiply-adds of all threads.
  double run(ThreadPool& pool) const;

 private:
  DotLoop loop_;
  std::int64_t n_rounds_ = 1000;  // of a task
};

}  // namespace cria

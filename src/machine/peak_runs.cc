#include "machine/peak_runs.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "machine/last_cache.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kReadTaskBytes = std::uint64_t{256} << 10;
// At least and at most what is read before it begins anew, and how often the last caches must fit
// into it.
constexpr std::uint64_t kLeastReadBytes = std::uint64_t{128} << 20;
constexpr std::uint64_t kMostReadBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kCachesToRead = 4;
constexpr double kDotTaskSeconds = 1e-4;
constexpr int kDotTasksPerThread = 4;  // a run

std::uint64_t positive_sysconf(int name) {
  const long value = sysconf(name);
  return value > 0 ? static_cast<std::uint64_t>(value) : 0;
}

std::uint64_t default_read_bytes() {
  std::uint64_t bytes = std::max(kLeastReadBytes, kCachesToRead * last_cache_bytes());
  const std::uint64_t memory = positive_sysconf(_SC_PHYS_PAGES) * positive_sysconf(_SC_PAGESIZE);
  if (memory > 0) bytes = std::min(bytes, memory / 8);
  return std::min(bytes, kMostReadBytes);
}

}  // namespace

std::vector<NamedDotLoop> dot_loops() {
  const PeakLoops loops = peak_loops(best_isa());
  std::vector<NamedDotLoop> named = {
      {"int8", loops.int8}, {"bf16", loops.bf16}, {"f32", loops.f32}};
  if (loops.int8_tiles.run != nullptr) named.push_back({"int8_tiles", loops.int8_tiles});
  if (loops.bf16_tiles.run != nullptr) named.push_back({"bf16_tiles", loops.bf16_tiles});
  return named;
}

Result<ReadRuns> ReadRuns::allocate(Pages pages, std::uint64_t size_bytes, ThreadPool& pool) {
  if (size_bytes == 0) size_bytes = default_read_bytes();
  ReadRuns runs;
  runs.read_ = peak_loops(best_isa()).read;
  runs.n_tasks_ =
      static_cast<std::int64_t>(std::max<std::uint64_t>(1, size_bytes / kReadTaskBytes));
  CRIA_ASSIGN_OR_RETURN(
      runs.buffer_,
      PagedBuffer::allocate(static_cast<std::uint64_t>(runs.n_tasks_) * kReadTaskBytes, pages));
  std::byte* data = runs.buffer_.bytes().data();
  pool.parallel_for(runs.n_tasks_, [&](std::int64_t i, int) {
    std::memset(data + static_cast<std::uint64_t>(i) * kReadTaskBytes, 1, kReadTaskBytes);
  });
  return runs;
}

double ReadRuns::run(ThreadPool& pool, std::int64_t n_tasks) {
  const std::byte* data = buffer_.bytes().data();
  pool.parallel_for(n_tasks, [&](std::int64_t i, int) {
    const auto task = static_cast<std::uint64_t>((next_ + i) % n_tasks_);
    read_(data + task * kReadTaskBytes, kReadTaskBytes);
  });
  next_ = (next_ + n_tasks) % n_tasks_;
  return static_cast<double>(n_tasks) * kReadTaskBytes;
}

std::uint64_t ReadRuns::size_bytes() const {
  return static_cast<std::uint64_t>(n_tasks_) * kReadTaskBytes;
}

DotRuns::DotRuns(const DotLoop& loop) : loop_(loop) {
  // The best of three, since others use the machine, too, and can only make a task longer.
  const auto task_seconds = [this] {
    double best = 0;
    for (int i = 0; i < 3; ++i) {
      const auto start = Clock::now();
      loop_.run(n_rounds_);
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      if (i == 0 || seconds < best) best = seconds;
    }
    return best;
  };
  while (task_seconds() < kDotTaskSeconds / 2) n_rounds_ *= 2;
}

double DotRuns::run(ThreadPool& pool) const {
  const std::int64_t n_tasks = kDotTasksPerThread * pool.n_threads();
  pool.parallel_for(n_tasks, [&](std::int64_t, int) { loop_.run(n_rounds_); });
  return static_cast<double>(n_tasks) * static_cast<double>(n_rounds_) *
         static_cast<double>(loop_.macs_per_round);
}

}  // namespace cria

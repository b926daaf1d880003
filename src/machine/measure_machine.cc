#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <set>

#include "base/result.h"
#include "base/thread_pool.h"
#include "cria/machine.h"
#include "kernels/peak/peak.h"
#include "machine/last_cache.h"
#include "machine/paged_buffer.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;

// What one task reads: long beside handing it out. A run reads some of the memory and the next run
// goes on behind it, so that runs are short and yet find nothing in a cache.
constexpr std::uint64_t kReadTaskBytes = std::uint64_t{256} << 10;
constexpr std::int64_t kReadTasksPerRun = 32;
// At least and at most what is read before it begins anew, and how often the last caches must fit
// into it.
constexpr std::uint64_t kLeastReadBytes = std::uint64_t{128} << 20;
constexpr std::uint64_t kMostReadBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kCachesToRead = 4;
constexpr double kDotTaskSeconds = 1e-4;
constexpr int kDotTasksPerThread = 4;  // a run: short enough that some run is left undisturbed
constexpr int kForkJoinsPerRun = 100;
constexpr int kLeastRuns = 3;
constexpr int kMostThreadCounts = 8;  // that reads are measured with

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The shortest of the runs that fit into `budget_seconds`. Others use the machine, too, and can
// only make a run longer.
double best_seconds(double budget_seconds, const std::function<void()>& run) {
  const auto start = Clock::now();
  double best = 0;
  for (int i = 0; i < kLeastRuns || seconds_since(start) < budget_seconds; ++i) {
    const auto run_start = Clock::now();
    run();
    const double seconds = seconds_since(run_start);
    if (i == 0 || seconds < best) best = seconds;
  }
  return best;
}

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

// Numbers of threads from 1 to n_cores: all of them, or on large machines evenly spaced ones.
std::vector<int> read_thread_counts(int n_cores) {
  std::set<int> counts = {1, n_cores};
  const int n = std::min(n_cores, kMostThreadCounts);
  for (int i = 1; i <= n; ++i) counts.insert(std::max(1, i * n_cores / n));
  return {counts.begin(), counts.end()};
}

class Measurement {
 public:
  Measurement(const MachineOptions& options, MachineReport& report)
      : report_(report), loops_(peak_loops(best_isa())) {
    report.cpu = cpu_model_name();
    report.isa = isa_name(best_isa());
    report.n_cores = available_cores();
    read_bytes_ = options.read_bytes > 0 ? options.read_bytes : default_read_bytes();
    read_bytes_ = std::max(kReadTaskBytes, read_bytes_ / kReadTaskBytes * kReadTaskBytes);
    read_threads_ = read_thread_counts(report.n_cores);
    std::set<int> dot_threads = {1, report.n_cores};
    for (int n : options.n_threads) dot_threads.insert(std::clamp(n, 1, report.n_cores));
    dot_threads_.assign(dot_threads.begin(), dot_threads.end());
    const std::size_t n_parts = 2 * read_threads_.size() + 6 * dot_threads_.size();
    part_seconds_ = options.seconds / static_cast<double>(n_parts);
  }

  Status run() {
    CRIA_RETURN_IF_ERROR(measure_reads(Pages::kSmall));
    Status huge = measure_reads(Pages::kHuge);
    if (!huge.ok() && huge.code() != ErrorCode::kUnsupported) return huge;
    for (int n_threads : dot_threads_) {
      ThreadPool pool(n_threads);
      measure_dot("int8", loops_.int8, pool);
      measure_dot("bf16", loops_.bf16, pool);
      measure_dot("f32", loops_.f32, pool);
      if (loops_.int8_tiles.run != nullptr) measure_dot("int8_tiles", loops_.int8_tiles, pool);
      if (loops_.bf16_tiles.run != nullptr) measure_dot("bf16_tiles", loops_.bf16_tiles, pool);
      if (n_threads > 1) measure_fork_join(pool);
    }
    return {};
  }

 private:
  Status measure_reads(Pages pages) {
    CRIA_ASSIGN_OR_RETURN(PagedBuffer buffer, PagedBuffer::allocate(read_bytes_, pages));
    std::byte* data = buffer.bytes().data();
    const auto n_tasks = static_cast<std::int64_t>(read_bytes_ / kReadTaskBytes);
    {
      ThreadPool pool(report_.n_cores);
      pool.parallel_for(n_tasks, [&](std::int64_t i, int) {
        std::memset(data + static_cast<std::uint64_t>(i) * kReadTaskBytes, 1, kReadTaskBytes);
      });
    }
    for (int n_threads : read_threads_) {
      ThreadPool pool(n_threads);
      std::int64_t next = 0;
      const double seconds = best_seconds(part_seconds_, [&] {
        pool.parallel_for(kReadTasksPerRun, [&](std::int64_t i, int) {
          const auto task = static_cast<std::uint64_t>((next + i) % n_tasks);
          loops_.read(data + task * kReadTaskBytes, kReadTaskBytes);
        });
        next += kReadTasksPerRun;
      });
      const double run_bytes = static_cast<double>(kReadTasksPerRun) * kReadTaskBytes;
      report_.reads.push_back(
          {n_threads, pages == Pages::kHuge ? "huge" : "4K", run_bytes / seconds});
    }
    return {};
  }

  void measure_dot(const char* type, const DotLoop& loop, ThreadPool& pool) {
    // Rounds of a task, from tasks that grow until they are long enough to be timed.
    std::int64_t n_rounds = 1000;
    double seconds = 0;
    for (;; n_rounds *= 2) {
      seconds = best_seconds(0, [&] { loop.run(n_rounds); });
      if (seconds >= kDotTaskSeconds / 2) break;
    }
    const std::int64_t n_tasks = kDotTasksPerThread * pool.n_threads();
    seconds = best_seconds(part_seconds_, [&] {
      pool.parallel_for(n_tasks, [&](std::int64_t, int) { loop.run(n_rounds); });
    });
    const double macs = static_cast<double>(n_tasks) * static_cast<double>(n_rounds) *
                        static_cast<double>(loop.macs_per_round);
    report_.dots.push_back({type, loop.instructions, pool.n_threads(), macs / seconds});
  }

  void measure_fork_join(ThreadPool& pool) {
    const auto nothing = [](std::int64_t, int) {};
    const double seconds = best_seconds(part_seconds_, [&] {
      for (int i = 0; i < kForkJoinsPerRun; ++i) pool.parallel_for(pool.n_threads(), nothing);
    });
    report_.fork_joins.push_back({pool.n_threads(), seconds / kForkJoinsPerRun});
  }

  MachineReport& report_;
  const PeakLoops loops_;
  std::uint64_t read_bytes_;
  std::vector<int> read_threads_, dot_threads_;
  double part_seconds_;  // of one rate
};

}  // namespace

ReadRate MachineReport::best_read() const {
  ReadRate best;
  for (const ReadRate& rate : reads) {
    if (rate.bytes_per_second > best.bytes_per_second) best = rate;
  }
  return best;
}

double MachineReport::macs_per_second(const std::string& type, int n_threads) const {
  double best = 0;
  for (const DotRate& rate : dots) {
    if (rate.type == type && rate.n_threads <= n_threads) {
      best = std::max(best, rate.macs_per_second);
    }
  }
  return best;
}

Result<MachineReport> measure_machine(const MachineOptions& options) {
  if (!std::isfinite(options.seconds) || options.seconds < 0) {
    return invalid_argument("{} seconds to measure, expected 0 or more", options.seconds);
  }
  const auto start = Clock::now();
  MachineReport report;
  CRIA_RETURN_IF_ERROR(Measurement(options, report).run());
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace cria

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <set>

#include "base/result.h"
#include "base/thread_pool.h"
#include "cria/machine.h"
#include "machine/peak_runs.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;

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
      : report_(report), read_bytes_(options.read_bytes) {
    report.cpu = cpu_model_name();
    report.isa = isa_name(best_isa());
    report.n_cores = available_cores();
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
    const std::vector<NamedDotLoop> loops = dot_loops();
    for (int n_threads : dot_threads_) {
      ThreadPool pool(n_threads);
      for (const NamedDotLoop& dots : loops) measure_dot(dots.type, dots.loop, pool);
      if (n_threads > 1) measure_fork_join(pool);
    }
    return {};
  }

 private:
  Status measure_reads(Pages pages) {
    ThreadPool all_cores(report_.n_cores);
    CRIA_ASSIGN_OR_RETURN(ReadRuns runs, ReadRuns::allocate(pages, read_bytes_, all_cores));
    for (int n_threads : read_threads_) {
      ThreadPool pool(n_threads);
      double bytes = 0;
      const double seconds = best_seconds(part_seconds_, [&] { bytes = runs.run(pool); });
      report_.reads.push_back({n_threads, pages_name(pages), bytes / seconds});
    }
    return {};
  }

  void measure_dot(const char* type, const DotLoop& loop, ThreadPool& pool) {
    const DotRuns runs(loop);
    double macs = 0;
    const double seconds = best_seconds(part_seconds_, [&] { macs = runs.run(pool); });
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

DotRate MachineReport::best_dots(const std::string& type, int n_threads) const {
  DotRate best;
  for (const DotRate& rate : dots) {
    if (rate.type == type && rate.n_threads <= n_threads &&
        rate.macs_per_second > best.macs_per_second) {
      best = rate;
    }
  }
  return best;
}

double MachineReport::macs_per_second(const std::string& type, int n_threads) const {
  return best_dots(type, n_threads).macs_per_second;
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

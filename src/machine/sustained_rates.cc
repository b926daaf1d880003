#include <algorithm>
#include <chrono>
#include <optional>

#include "base/result.h"
#include "base/thread_pool.h"
#include "cria/machine.h"
#include "machine/peak_runs.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;

// A run has so many tasks here: the threads wait for each other once in some milliseconds, about as
// often as in a decode step.
constexpr std::int64_t kReadTasks = 512;

// `run` returns what it did; until `seconds` are over.
template <typename Run>
double mean_rate(double seconds, Run run) {
  const auto start = Clock::now();
  double done = 0;
  for (;;) {
    done += run();
    const double passed = std::chrono::duration<double>(Clock::now() - start).count();
    if (passed >= seconds) return done / passed;
  }
}

}  // namespace

struct SustainedRates::State {
  MachineReport report;
  MachineOptions options;
  std::optional<ReadRuns> reads;
};

SustainedRates::SustainedRates(MachineReport report, const MachineOptions& options)
    : state_(std::make_unique<State>(State{std::move(report), options, {}})) {}
SustainedRates::~SustainedRates() = default;
SustainedRates::SustainedRates(SustainedRates&&) noexcept = default;
SustainedRates& SustainedRates::operator=(SustainedRates&&) noexcept = default;

Result<double> SustainedRates::read(double seconds) {
  const ReadRate best = state_->report.best_read();
  ThreadPool pool(best.n_threads);
  if (!state_->reads) {
    const Pages pages = best.pages == pages_name(Pages::kHuge) ? Pages::kHuge : Pages::kSmall;
    CRIA_ASSIGN_OR_RETURN(state_->reads,
                          ReadRuns::allocate(pages, state_->options.read_bytes, pool));
  }
  return mean_rate(seconds, [&] { return state_->reads->run(pool, kReadTasks); });
}

Result<double> SustainedRates::dots(const std::string& type, int n_threads, double seconds) {
  const DotRate best = state_->report.best_dots(type, n_threads);
  const std::vector<NamedDotLoop> loops = dot_loops();
  const auto named = std::find_if(loops.begin(), loops.end(),
                                  [&type](const NamedDotLoop& dots) { return dots.type == type; });
  if (named == loops.end() || best.macs_per_second <= 0) {
    return invalid_argument("multiply-adds of \"{}\" by up to {} threads: not in the report", type,
                            n_threads);
  }
  ThreadPool pool(best.n_threads);
  const DotRuns runs(named->loop);
  return mean_rate(seconds, [&] { return runs.run(pool); });
}

std::uint64_t SustainedRates::memory_bytes() const {
  return state_->reads ? state_->reads->size_bytes() : 0;
}

}  // namespace cria

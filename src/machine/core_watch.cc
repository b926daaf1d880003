#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/thread_pool.h"
#include "cria/machine.h"
#include "machine/quiet_cores.h"

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kAdditionsPerRound = 8;
constexpr int kRoundsPerBurst = 8000;  // some 10 us
// The best of them counts: in one the thread may have lost its core.
constexpr int kBursts = 5;
// How long cores are watched at first, to learn what they do undisturbed.
constexpr auto kFirstWatch = std::chrono::milliseconds(300);
constexpr auto kPause = std::chrono::milliseconds(3);

// Additions that do not wait for each other: as many a cycle as the core issues.
double additions_per_second() {
  std::uint64_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
  const auto start = Clock::now();
  for (int i = 0; i < kRoundsPerBurst; ++i) {
    asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+r"(g), "+r"(h));
    ++a, ++b, ++c, ++d, ++e, ++f, ++g, ++h;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return kRoundsPerBurst * kAdditionsPerRound / std::max(seconds, 1e-9);
}

}  // namespace

struct CoreWatch::State {
  explicit State(int n_threads) : pool(n_threads, 0), rates(n_threads) {}
  ThreadPool pool;  // whose threads sleep at once, so that they are in nobody's way
  std::vector<CoreRate> rates;
  QuietCores cores;
};

CoreWatch::CoreWatch(int n_threads)
    : state_(std::make_unique<State>(std::clamp(n_threads, 1, available_cores()))) {
  const auto start = Clock::now();
  while (Clock::now() - start < kFirstWatch) {
    is_quiet();
    std::this_thread::sleep_for(kPause);
  }
}

CoreWatch::~CoreWatch() = default;

bool CoreWatch::is_quiet() {
  const int n = state_->pool.n_threads();
  std::atomic<int> n_here = 0;
  state_->pool.parallel_for(n, [&](std::int64_t i, int) {
    // A thread that came early must not do another's share: all cores at once, or it says nothing.
    ++n_here;
    while (n_here.load() < n) std::this_thread::yield();
    CoreRate& rate = state_->rates[static_cast<std::size_t>(i)];
    rate = {sched_getcpu(), 0};
    for (int k = 0; k < kBursts; ++k) {
      rate.additions_per_second = std::max(rate.additions_per_second, additions_per_second());
    }
  });
  return state_->cores.note(state_->rates);
}

double CoreWatch::best_additions_per_second() const {
  return state_->cores.best_additions_per_second();
}

}  // namespace cria

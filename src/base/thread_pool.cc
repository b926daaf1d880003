#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace cria {
namespace {

using Clock = std::chrono::steady_clock;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Tasks that a thread has to itself until it has done them all, or others have done theirs. It
// takes the first, others the last, so that what it reads goes on where it was. On a cache line of
// its own.
class alignas(64) TaskRange {
 public:
  // Before the threads are told of it.
  void set(std::int64_t begin, std::int64_t end) {
    first_ = begin;
    left_.store(pack(0, static_cast<std::uint32_t>(end - begin)), std::memory_order_relaxed);
  }
  // -1: none is left.
  std::int64_t take_first() { return take(1, 0); }
  std::int64_t take_last() { return take(0, 1); }

 private:
  static constexpr std::uint64_t pack(std::uint32_t begin, std::uint32_t end) {
    return std::uint64_t{end} << 32 | begin;
  }
  std::int64_t take(std::uint32_t front, std::uint32_t back) {
    std::uint64_t left = left_.load(std::memory_order_relaxed);
    for (;;) {
      const auto begin = static_cast<std::uint32_t>(left),
                 end = static_cast<std::uint32_t>(left >> 32);
      if (begin == end) return -1;
      if (left_.compare_exchange_weak(left, pack(begin + front, end - back),
                                      std::memory_order_relaxed)) {
        return first_ + (front != 0 ? begin : end - 1);
      }
    }
  }

  std::atomic<std::uint64_t> left_{0};  // pack(begin, end), counted from first_
  std::int64_t first_ = 0;
};

}  // namespace

// One loop at a time. `round` counts loops: a worker that sees it change joins the new loop. The
// loop ends when all tasks are taken and all workers have counted themselves out.
struct ThreadPool::State {
  std::mutex one_caller;  // serializes parallel_for
  std::mutex sleep_mutex;
  std::condition_variable wake;
  std::atomic<std::uint64_t> round{0};
  std::atomic<int> n_finished{0};       // workers done with the current round
  std::unique_ptr<TaskRange[]> ranges;  // one a thread
  int n_ranges = 0;                     // of the current round
  const std::function<void(std::int64_t, int)>* task = nullptr;
  std::atomic<bool> stopping{false};
  std::chrono::microseconds spin_time{0};
  std::vector<std::thread> threads;

  // Neighbouring tasks mostly read neighbouring memory: a thread that has one after the other is
  // ahead of itself. Handed out in turns, tasks of 128 KB of weights cost two cores a tenth to a
  // fifth of what they can read (q4, 64 and 1024 rows of 2048 columns a task: 81 and 100 %).
  void share_tasks(std::int64_t n_tasks, int n_threads) {
    n_ranges = static_cast<int>(std::min<std::int64_t>(n_tasks, n_threads));
    const std::int64_t n_each = n_tasks / n_ranges, n_longer = n_tasks % n_ranges;
    std::int64_t first = 0;
    for (int i = 0; i < n_ranges; ++i) {
      const std::int64_t end = first + n_each + (i < n_longer ? 1 : 0);
      ranges[i].set(first, end);
      first = end;
    }
  }

  // Those of the thread's own range, then what others have left.
  void take_tasks(int thread) {
    for (int i = 0; i < n_ranges; ++i) {
      const bool is_own = i == 0 && thread < n_ranges;
      TaskRange& range = ranges[(thread + i) % n_ranges];
      for (;;) {
        const std::int64_t index = is_own ? range.take_first() : range.take_last();
        if (index < 0) break;
        (*task)(index, thread);
      }
    }
  }

  // Waits for a round after `seen`: spinning first, then asleep.
  std::uint64_t wait_for_round(std::uint64_t seen) {
    const auto give_up = Clock::now() + spin_time;
    while (round.load(std::memory_order_acquire) == seen && Clock::now() < give_up) pause_briefly();
    if (round.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(sleep_mutex);
      wake.wait(lock, [&] { return round.load(std::memory_order_acquire) != seen; });
    }
    return round.load(std::memory_order_acquire);
  }
};

ThreadPool::ThreadPool(int n_threads, int spin_us)
    : n_threads_(n_threads < 1 ? 1 : n_threads), state_(std::make_unique<State>()) {
  state_->ranges = std::make_unique<TaskRange[]>(static_cast<std::size_t>(n_threads_));
  state_->spin_time = std::chrono::microseconds(spin_us < 0 ? 0 : spin_us);
  for (int thread = 1; thread < n_threads_; ++thread) {
    state_->threads.emplace_back([this, thread] { work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stopping.store(true, std::memory_order_relaxed);
  {
    std::lock_guard lock(state_->sleep_mutex);
    state_->round.fetch_add(1, std::memory_order_release);
  }
  state_->wake.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

void ThreadPool::work(int thread) {
  std::uint64_t seen = 0;
  for (;;) {
    seen = state_->wait_for_round(seen);
    if (state_->stopping.load(std::memory_order_relaxed)) return;
    state_->take_tasks(thread);
    state_->n_finished.fetch_add(1, std::memory_order_release);
    if (state_->spin_time.count() == 0) state_->n_finished.notify_one();
  }
}

void ThreadPool::parallel_for(std::int64_t n_tasks,
                              const std::function<void(std::int64_t, int)>& task) {
  if (n_tasks <= 0) return;
  std::lock_guard only(state_->one_caller);
  if (n_threads_ == 1 || n_tasks == 1) {
    for (std::int64_t index = 0; index < n_tasks; ++index) task(index, 0);
    return;
  }
  state_->task = &task;
  state_->share_tasks(n_tasks, n_threads_);
  state_->n_finished.store(0, std::memory_order_relaxed);
  {
    std::lock_guard lock(state_->sleep_mutex);
    state_->round.fetch_add(1, std::memory_order_release);
  }
  state_->wake.notify_all();
  state_->take_tasks(0);
  // Every worker must have left before the next loop may reuse the state. A worker that is still
  // asleep has to wake for it; the alternative, letting late workers skip a round, needs a second
  // counter per task.
  const auto spin_until = Clock::now() + state_->spin_time;
  for (;;) {
    const int n_finished = state_->n_finished.load(std::memory_order_acquire);
    if (n_finished == n_threads_ - 1) return;
    if (Clock::now() < spin_until) {
      pause_briefly();
    } else if (state_->spin_time.count() == 0) {
      state_->n_finished.wait(n_finished, std::memory_order_acquire);
    } else {
      std::this_thread::yield();
    }
  }
}

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  const int count = CPU_COUNT(&set);
  return count < 1 ? 1 : count;
}

}  // namespace cria

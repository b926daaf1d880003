// A fixed set of threads that share the work of one loop at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace cria {

// Runs `for i in [0, n_tasks)` over its threads. Each has a share of tasks that follow each other,
// as many as others, and takes from the end of others' when it is done with its own, so uneven
// tasks balance; which thread runs a task is not defined, hence a task's result must depend on
// nothing but its index: this is what makes one thread equal N threads bit for bit.
//
// Thread-safety: one `parallel_for` at a time; a second caller waits for the first.
class ThreadPool {
 public:
  // How long whoever waits spins by default before it gives the core away. Between two ops of a
  // decode step there are a few microseconds; sleeping and waking costs about fifty.
  static constexpr int kSpinMicroseconds = 100;

  // `n_threads` >= 1 counts the caller: 1 starts no thread at all. `spin_us` 0: whoever waits
  // sleeps at once, which costs time and saves the energy of spinning.
  explicit ThreadPool(int n_threads, int spin_us = kSpinMicroseconds);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return n_threads_; }

  // Calls `task(index, thread)` for every index, fewer than 2^32 of them, the caller working along
  // as thread 0; returns when all are done. `thread` < n_threads(), for scratch memory. `task` must
  // not throw and must not call parallel_for.
  void parallel_for(std::int64_t n_tasks, const std::function<void(std::int64_t, int)>& task);

 private:
  struct State;
  void work(int thread);
  int n_threads_;
  std::unique_ptr<State> state_;
};

// Cores this process may run on (its affinity mask, not the machine's size), at least 1.
int available_cores();

}  // namespace cria

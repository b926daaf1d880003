// How the panels of a linear op are shared among threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace cria {

// Kernels read up to four panels side by side: tasks of whole fours leave none over.
inline constexpr std::int64_t kPanelsSideBySide = 4;

inline constexpr std::int64_t kTasksPerThread = 4;  // at least, where there is that much to share

// A weight of a linear op: panels that follow each other in memory.
struct LinearWeight {
  std::int64_t n_panels = 0;
  std::size_t panel_bytes = 0;  // > 0

  std::size_t bytes() const { return static_cast<std::size_t>(n_panels) * panel_bytes; }
};

// The panels of all weights of an op, one weight after the other, cut into tasks of whole fours of
// panels. A thread pool gives each thread as many tasks that follow each other; here these are as
// many bytes, read in the order in which they lie. A task may have the end of a weight and the
// start of the next, or nothing at all.
//
// Refers to the weights that it is made of. Thread-safety: const functions may run at once.
class LinearTasks {
 public:
  // Tasks of `task_bytes`, where that leaves each of `n_threads` a few of them.
  static LinearTasks equal(std::span<const LinearWeight> weights, std::size_t task_bytes,
                           int n_threads);
  // A thread's first task is half of its share, the next half of the rest, and so on down to
  // `least_bytes`: it begins anew seldom, and is done when others are.
  static LinearTasks halving(std::span<const LinearWeight> weights, std::size_t least_bytes,
                             int n_threads);

  std::int64_t n_tasks() const { return n_tasks_; }

  // Calls run(weight, first_panel, n_panels) for what task `task` has.
  template <typename Run>
  void for_each_part(std::int64_t task, const Run& run) const {
    Place at = start_of(task);
    const Place end = start_of(task + 1);
    for (; at.weight < end.weight; at = {at.weight + 1, 0}) {
      const std::int64_t n = weights_[at.weight].n_panels - at.panel;
      if (n > 0) run(at.weight, at.panel, n);
    }
    if (end.panel > at.panel) run(at.weight, at.panel, end.panel - at.panel);
  }

 private:
  struct Place {
    std::size_t weight;
    std::int64_t panel;
  };

  explicit LinearTasks(std::span<const LinearWeight> weights);
  std::size_t first_byte(std::int64_t task) const;
  Place start_of(std::int64_t task) const;

  std::span<const LinearWeight> weights_;
  std::size_t n_bytes_ = 0;
  std::int64_t n_tasks_ = 0;
  std::int64_t n_halvings_ = 0;  // tasks of a thread; 0: all tasks are equal
};

}  // namespace cria

#include "delegates/cpu/linear_tasks.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace cria {

LinearTasks::LinearTasks(std::span<const LinearWeight> weights) : weights_(weights) {
  for (const LinearWeight& weight : weights) n_bytes_ += weight.bytes();
}

LinearTasks LinearTasks::equal(std::span<const LinearWeight> weights, std::size_t task_bytes,
                               int n_threads) {
  LinearTasks tasks(weights);
  const auto by_bytes = static_cast<std::int64_t>(tasks.n_bytes_ / task_bytes);
  const std::int64_t n = std::max(by_bytes, kTasksPerThread * n_threads);
  tasks.n_tasks_ = (n + n_threads - 1) / n_threads * n_threads;  // as many for each
  return tasks;
}

LinearTasks LinearTasks::halving(std::span<const LinearWeight> weights, std::size_t least_bytes,
                                 int n_threads) {
  LinearTasks tasks(weights);
  const auto n = static_cast<std::size_t>(n_threads);
  const std::size_t least_of_share = tasks.n_bytes_ / n / least_bytes;
  tasks.n_halvings_ = std::max(1, static_cast<int>(std::bit_width(least_of_share)));
  tasks.n_tasks_ = tasks.n_halvings_ * n_threads;
  return tasks;
}

// Of all weights' bytes, where the task starts.
std::size_t LinearTasks::first_byte(std::int64_t task) const {
  const double n = static_cast<double>(n_bytes_);
  if (n_halvings_ == 0) return static_cast<std::size_t>(n * task / n_tasks_);
  const double share = n * n_halvings_ / n_tasks_;
  const double done = 1 - std::ldexp(1.0, -static_cast<int>(task % n_halvings_));  // of the share
  return static_cast<std::size_t>(share * (task / n_halvings_ + done));
}

// The start of a four of panels that is nearest to that.
LinearTasks::Place LinearTasks::start_of(std::int64_t task) const {
  if (task >= n_tasks_) return {weights_.size() - 1, weights_.back().n_panels};
  std::size_t bytes = first_byte(task);
  std::size_t i = 0;
  for (; i + 1 < weights_.size() && bytes >= weights_[i].bytes(); ++i) bytes -= weights_[i].bytes();
  const std::size_t four = kPanelsSideBySide * weights_[i].panel_bytes;
  const auto panel = static_cast<std::int64_t>((bytes + four / 2) / four) * kPanelsSideBySide;
  return {i, std::min(panel, weights_[i].n_panels)};
}

}  // namespace cria

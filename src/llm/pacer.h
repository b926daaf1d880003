// Holds decoding to a pace: a reader gains nothing from tokens faster than that, and a core that
// sleeps draws little.
#pragma once

#include <algorithm>
#include <chrono>

namespace cria {

// Pure but for what it remembers: the clock is handed in. Thread-safety: one caller at a time.
class Pacer {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  Pacer() = default;  // no pace
  explicit Pacer(double steps_per_second)
      : interval_(steps_per_second > 0 ? std::chrono::duration_cast<Duration>(
                                             std::chrono::duration<double>(1 / steps_per_second))
                                       : Duration::zero()) {}

  // How long a step that is asked for at `now` has to wait. Steps start at least an interval apart;
  // time that was not used is not saved up.
  Duration delay(Time now) {
    const Time start = std::max(now, next_);
    next_ = start + interval_;
    return start - now;
  }

 private:
  Duration interval_ = Duration::zero();
  Time next_{};
};

}  // namespace cria

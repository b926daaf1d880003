// Which cores have themselves to themselves, judged by how fast they issued instructions before.
#pragma once

#include <map>
#include <span>

namespace cria {

// What a core issued in a short while.
struct CoreRate {
  int cpu = 0;  // its number, as the system counts
  double additions_per_second = 0;
};

class QuietCores {
 public:
  // Less than this share of a core's best is somebody else's doing. Another hardware thread at work
  // takes about half, changes of the clock a few percent.
  static constexpr double kQuietShare = 0.9;

  // Takes rates that were measured at the same time; whether none of these cores is disturbed.
  bool note(std::span<const CoreRate> rates) {
    bool quiet = true;
    for (const CoreRate& rate : rates) {
      double& best = best_[rate.cpu];
      if (rate.additions_per_second > best) best = rate.additions_per_second;
      quiet &= rate.additions_per_second >= kQuietShare * best;
    }
    return quiet;
  }

  // The most that any core did.
  double best_additions_per_second() const {
    double best = 0;
    for (const auto& [cpu, rate] : best_) best = rate > best ? rate : best;
    return best;
  }

 private:
  std::map<int, double> best_;  // by number
};

}  // namespace cria

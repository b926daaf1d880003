#include "api/power_profile.h"

#include <algorithm>

#include "base/quote.h"
#include "base/thread_pool.h"

namespace cria {

Result<CpuPower> cpu_power(const std::string& name, int n_cores) {
  if (name == "high_performance") return CpuPower{n_cores, ThreadPool::kSpinMicroseconds, 0};
  // Waiting threads sleep: all cores work, none spins.
  if (name == "balanced") return CpuPower{n_cores, 0, 0};
  // Ten tokens a second are some seven words, faster than most people read.
  if (name == "low_power") return CpuPower{std::max(1, n_cores / 2), 0, 10};
  return invalid_argument("power profile {}, expected high_performance, balanced or low_power",
                          quote(name));
}

}  // namespace cria

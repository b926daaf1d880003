// What a power profile means on this machine's processor.
#pragma once

#include <string>

#include "base/result.h"

namespace cria {

struct CpuPower {
  int n_threads = 0;
  int spin_us = 0;                   // how long a waiting thread spins (base/thread_pool.h)
  double max_tokens_per_second = 0;  // of decoding; 0: as fast as it goes
};

// `name`: "high_performance", "balanced", "low_power"; kInvalidArgument: another.
Result<CpuPower> cpu_power(const std::string& name, int n_cores);

}  // namespace cria

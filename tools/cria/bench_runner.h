// Runs the tests of `cria bench` on one engine and takes their times.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bench_report.h"
#include "cria/energy.h"
#include "cria/engine.h"

namespace cria::cli {

struct BenchRunOptions {
  std::string model_path;  // for the rows
  bool warm_up = true;     // by a run that is not timed
};

// A test with the cache that it runs on, which holds the tokens before it.
struct PreparedTest {
  BenchRow row;
  KvCacheBuffer cache;
};

// Token ids are random: what they are does not change the work.
class BenchRunner {
 public:
  // `meter`: nullptr: energy is not measured.
  BenchRunner(Engine engine, BenchRunOptions options, EnergyMeter* meter)
      : engine_(std::move(engine)), options_(std::move(options)), meter_(meter) {}

  // kInvalidArgument: a verify step of more tokens than the program takes. Threads, power profile
  // and what the row is compared with are left to the caller.
  Result<PreparedTest> prepare(const BenchTest& test);
  // One repetition; the tests of a runner may take turns. kCancelled: interrupted.
  Status repeat(PreparedTest& test);
  // What follows from all repetitions, and the memory of the process.
  void finish(PreparedTest& test) const;

 private:
  using Clock = std::chrono::steady_clock;

  Status check(const BenchTest& test) const;
  Status run_metered(PreparedTest& test);
  Status run_once(PreparedTest& test);
  Status run_verify_pairs(PreparedTest& test);
  Status warm_up(const BenchTest& test, KvCacheBuffer& cache);
  Status prefill(std::int64_t n_tokens, KvCacheBuffer& cache);
  Status verify(std::int64_t n_tokens, KvCacheBuffer& cache);
  Status read_energy(double& joules);
  const std::vector<std::int32_t>& draw_ids(std::int64_t n_tokens);
  ForwardCost cost_of(const BenchTest& test) const;

  Engine engine_;
  BenchRunOptions options_;
  EnergyMeter* meter_;
  std::vector<std::int32_t> ids_;
  std::vector<float> logits_;
  std::int64_t best_ = 0;
  std::mt19937 random_{1};
};

}  // namespace cria::cli

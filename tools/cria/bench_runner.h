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
  int n_repetitions = 5;
  bool warm_up = true;  // by a run that is not timed
};

// Token ids are random: what they are does not change the work.
class BenchRunner {
 public:
  // `meter`: nullptr: energy is not measured.
  BenchRunner(Engine engine, BenchRunOptions options, EnergyMeter* meter)
      : engine_(std::move(engine)), options_(std::move(options)), meter_(meter) {}

  // kInvalidArgument: a verify step of more tokens than the program takes; kCancelled: interrupted.
  // Threads, power profile and peak of the row are left to the caller.
  Result<BenchRow> measure(const BenchTest& test);

 private:
  using Clock = std::chrono::steady_clock;

  Status check(const BenchTest& test) const;
  Status repeat(const BenchTest& test, KvCacheBuffer& cache, BenchRow& row);
  Status run_once(const BenchTest& test, KvCacheBuffer& cache, BenchRow& row);
  Status run_verify_pairs(const BenchTest& test, KvCacheBuffer& cache, BenchRow& row);
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

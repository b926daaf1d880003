// The order in which the repetitions of `cria bench` run, and what the machine does beside them.
#pragma once

#include <string>
#include <vector>

#include "bench_report.h"
#include "bench_runner.h"
#include "cria/machine.h"

namespace cria::cli {

// One engine and the tests that run on it.
struct BenchLane {
  BenchRunner runner;
  int n_threads;
  std::string power_profile;
  std::vector<PreparedTest> tests;
};

// Repeats the tests of all lanes in turns: the first repetition of each, then the second of each.
// What others do on the machine so meets all of them. `machine`, if not null: measured for a tenth
// of a second before and behind each repetition, at what the row is compared with.
Status repeat_in_turns(std::vector<BenchLane>& lanes, int n_repetitions, SustainedRates* machine);

}  // namespace cria::cli

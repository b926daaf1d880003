#include "bench_turns.h"

#include "terminal.h"

namespace cria::cli {
namespace {

constexpr double kBesideSeconds = 0.1;  // for which the machine is measured beside a repetition

Status add_rate(SustainedRates& machine, const BenchRow& row, double& sum) {
  Result<double> rate = row.peak.name == "read"
                            ? machine.read(kBesideSeconds)
                            : machine.dots(row.peak.name, row.n_threads, kBesideSeconds);
  if (!rate.ok()) return rate.status();
  sum += *rate;
  return {};
}

Status repeat_beside(BenchRunner& runner, PreparedTest& test, SustainedRates& machine) {
  double sum = 0;
  CRIA_CLI_RETURN_IF_ERROR(add_rate(machine, test.row, sum));
  CRIA_CLI_RETURN_IF_ERROR(runner.repeat(test));
  CRIA_CLI_RETURN_IF_ERROR(add_rate(machine, test.row, sum));
  test.row.sustained.push_back(sum / 2);
  return {};
}

}  // namespace

Status repeat_in_turns(std::vector<BenchLane>& lanes, int n_repetitions, SustainedRates* machine) {
  for (int i = 0; i < n_repetitions; ++i) {
    for (BenchLane& lane : lanes) {
      for (PreparedTest& test : lane.tests) {
        const bool beside = machine != nullptr && !test.row.peak.name.empty();
        CRIA_CLI_RETURN_IF_ERROR(beside ? repeat_beside(lane.runner, test, *machine)
                                        : lane.runner.repeat(test));
      }
    }
  }
  return {};
}

}  // namespace cria::cli

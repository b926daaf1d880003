// What this machine can do at best, measured: the peaks that speeds are told as a share of.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cria/status.h"

namespace cria {

// Memory read by `n_threads` threads together, its best pass.
struct ReadRate {
  int n_threads = 0;
  std::string pages;  // "4K" (the system's own size), or "huge" (transparent huge pages)
  double bytes_per_second = 0;
};

// Multiply-adds of `n_threads` threads together, all operands in registers.
struct DotRate {
  // "int8", "bf16" or "f32", of the operands; "int8_tiles", "bf16_tiles": products of whole tiles,
  // where there are such.
  std::string type;
  std::string instructions;  // "vpdpbusd"
  int n_threads = 0;
  double macs_per_second = 0;
};

// Handing work to `n_threads` threads and waiting for all of them: what every op of a step costs
// besides its work. The threads spin between two loops, as they do between two ops.
struct ForkJoinTime {
  int n_threads = 0;
  double seconds = 0;
};

struct MachineOptions {
  double seconds = 1;  // about how long to measure; more is steadier where others use the machine
  std::uint64_t read_bytes = 0;  // memory to read; 0: several times the last cache
  // Dot peaks of these numbers of threads, besides one and all cores. More than the cores that
  // this process may use count as that many.
  std::vector<int> n_threads;
};

struct MachineReport {
  std::string cpu;  // "AMD EPYC"
  std::string isa;  // "avx2": the instruction set of the dot loops, the best there is
  int n_cores = 0;  // that this process may use
  double seconds = 0;
  std::vector<ReadRate> reads;
  std::vector<DotRate> dots;
  std::vector<ForkJoinTime> fork_joins;

  ReadRate best_read() const;
  // The best of up to `n_threads`, as far as they were measured; a rate of 0: no such type.
  DotRate best_dots(const std::string& type, int n_threads) const;
  double macs_per_second(const std::string& type, int n_threads) const;  // of best_dots
};

// Takes a few hundred MB and all cores while it runs. kInvalidArgument: options that make no sense;
// kOutOfResources: no memory.
Result<MachineReport> measure_machine(const MachineOptions& options = {});

// What the machine keeps up: means, where a report has the best of many short runs. Where others
// use the machine, too, the best is had for moments only, and a speed is compared with what the
// machine made just before and behind it.
//
// Not thread-safe.
class SustainedRates {
 public:
  // Rates of what `report` has. `options`: those that it was measured with.
  SustainedRates(MachineReport report, const MachineOptions& options);
  ~SustainedRates();
  SustainedRates(SustainedRates&&) noexcept;
  SustainedRates& operator=(SustainedRates&&) noexcept;

  // Bytes a second, read for about `seconds` (at least one run) by as many threads, and from pages
  // of that size, as made the report's best. The first call takes as much memory as measure_machine
  // and keeps it. kOutOfResources: there is none.
  Result<double> read(double seconds);

  // Multiply-adds a second of `type`, by as many of up to `n_threads` as made the report's best.
  // kInvalidArgument: the report has no such rate.
  Result<double> dots(const std::string& type, int n_threads, double seconds);

  std::uint64_t memory_bytes() const;  // that read() keeps

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Whether others use this machine's cores. Of the two hardware threads of a core the other may be
// somebody else's, in a virtual machine a stranger's: at work it takes about half of what the core
// issues, of its near caches and of its tile unit, while a loop of few instructions, as those of
// the dot peaks are, keeps its speed. The system does not tell; the rate of additions does.
//
// A core is quiet that issues about as much as it ever did since the watch began: one that is never
// quiet is not noticed.
class CoreWatch {
 public:
  // Watches as many cores as threads, at most all; for 0.3 s at first, to learn what they can do.
  explicit CoreWatch(int n_threads);
  ~CoreWatch();
  CoreWatch(const CoreWatch&) = delete;
  CoreWatch& operator=(const CoreWatch&) = delete;

  // Takes less than a millisecond of all of them.
  bool is_quiet();
  // The most that a core did since the watch began: less than on another day where it was never
  // quiet.
  double best_additions_per_second() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cria

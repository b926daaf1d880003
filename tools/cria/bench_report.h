// The rows of `cria bench` and how they are written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cria/engine.h"

namespace cria::cli {

// One test: n_prompt tokens of prefill, then n_gen steps of decode, after n_depth tokens already in
// the cache. Or (n_verify > 0, the others 0) steps that give the logits of n_verify tokens,
// alternating with decode steps at the same depth.
struct BenchTest {
  std::int64_t n_prompt = 0;
  std::int64_t n_gen = 0;
  std::int64_t n_depth = 0;
  std::int64_t n_verify = 0;

  std::int64_t n_tokens() const { return n_prompt + n_gen + n_verify; }
};

// What a row is measured against.
struct Peak {
  std::string name;       // "int8", "f32" (multiply-adds) or "read" (bytes); empty: nothing
  double per_second = 0;  // 0: the machine was not measured
};

struct BenchRow {
  BenchTest test;
  int n_threads = 0;
  std::string power_profile;
  double cpu_seconds = 0;                 // of all threads, over all repetitions
  double joules = 0;                      // likewise; 0: not measured
  std::string energy_source;              // "powercap: package-0"; empty: not measured
  std::string test_time;                  // ISO 8601, UTC
  std::vector<std::uint64_t> samples_ns;  // one a repetition; of a verify test, of one step
  std::vector<double> decode_step_ns;     // of a verify test: one a pair of steps
  std::vector<double> verify_step_ns;     // likewise
  double first_token_ms = 0;              // mean; 0 when the test has no prompt
  std::uint64_t kv_bytes = 0;
  std::uint64_t rss_anon_bytes = 0;
  std::uint64_t rss_file_bytes = 0;
  std::string model_path;
  ModelInfo model;
  ForwardCost cost;  // of one repetition
  Peak peak;
  std::vector<double>
      sustained;                 // what the machine made of `peak` beside each repetition, a second
  double first_depth_share = 0;  // see compare_depths

  double mean_ns() const;
  double stddev_ns() const;
  double mean_rate() const;  // tokens a second
  double stddev_rate() const;
  double macs_per_second() const;
  double bytes_per_second() const;  // over the bytes that must be touched
  double peak_share() const;        // 0..1; 0: unknown
  // The median over the repetitions of what each made of what the machine made beside it; 0:
  // unknown.
  double sustained_share() const;
  double cpu_seconds_per_token() const;
  double joules_per_token() const;  // 0: not measured
  bool on_cpu() const { return model.device == "cpu"; }
  // What a verify step costs in decode steps: the median of the pairs; 0: no verify test.
  double verify_ratio() const;
};

// Of rows whose repetitions took turns: sets `first_depth_share` of each row to the median over the
// repetitions of its speed as a share of that of the same test at the depth that comes first.
void compare_depths(std::vector<BenchRow*> rows);

// "pp512", "tg128", "pp512+tg128", "vk8", with " @ d4096".
std::string test_name(const BenchTest& test);

struct ReportStyle {
  std::string format;    // "md", "json", "jsonl" or "csv"
  bool verify = false;   // md: with a column for what a verify step costs
  bool batches = false;  // md: with columns for -b and -ub
  bool turns = false;    // md: with columns for what is compared within turns
};

// Text to print before the first row, for each row, and at the end.
std::string report_begin(const ReportStyle& style);
std::string report_row(const ReportStyle& style, const BenchRow& row, bool first);
std::string report_end(const ReportStyle& style);

}  // namespace cria::cli

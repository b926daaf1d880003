#include "bench_runner.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <span>

#include "commands.h"
#include "terminal.h"

namespace cria::cli {
namespace {

// Pairs of a decode and a verify step in a repetition: one pair alone is too short beside what
// others do on the machine.
constexpr int kVerifyPairs = 8;

// Of all threads, in user mode and in the kernel.
double process_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void read_memory(BenchRow& row) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    unsigned long kilobytes = 0;
    if (std::sscanf(line.c_str(), "RssAnon: %lu", &kilobytes) == 1)
      row.rss_anon_bytes = kilobytes * 1024;
    if (std::sscanf(line.c_str(), "RssFile: %lu", &kilobytes) == 1)
      row.rss_file_bytes = kilobytes * 1024;
  }
}

}  // namespace

Status BenchRunner::check(const BenchTest& test) const {
  const std::int64_t most = engine_.info().verify_chunk;
  if (test.n_verify <= most || test.n_verify == 0) return {};
  return Status(ErrorCode::kInvalidArgument,
                fmt::format("--verify {}: {}", test.n_verify,
                            most == 0 ? "the program has no method verify"
                                      : fmt::format("a step has {} tokens at most", most)));
}

Result<PreparedTest> BenchRunner::prepare(const BenchTest& test) {
  CRIA_CLI_RETURN_IF_ERROR(check(test));
  BenchRow row;
  row.test = test;
  row.model_path = options_.model_path;
  row.model = engine_.info();
  const std::int64_t n_tokens = std::max<std::int64_t>(test.n_tokens(), test.n_prompt + 1);
  Result<std::uint64_t> kv_bytes = engine_.kv_cache_bytes(test.n_depth + n_tokens);
  if (!kv_bytes.ok()) return kv_bytes.status();
  row.kv_bytes = *kv_bytes;
  Result<KvCacheBuffer> cache = KvCacheBuffer::allocate(*kv_bytes);
  if (!cache.ok()) return cache.status();
  const auto n_logits =
      static_cast<std::size_t>(row.model.n_vocab * std::max<std::int64_t>(1, test.n_verify));
  logits_.resize(std::max(logits_.size(), n_logits));
  if (test.n_depth > 0) CRIA_CLI_RETURN_IF_ERROR(prefill(test.n_depth, *cache));
  if (options_.warm_up) CRIA_CLI_RETURN_IF_ERROR(warm_up(test, *cache));
  row.test_time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  return PreparedTest{std::move(row), std::move(*cache)};
}

Status BenchRunner::repeat(PreparedTest& test) {
  CRIA_CLI_RETURN_IF_ERROR(test.cache.rewind(test.row.test.n_depth));
  CRIA_CLI_RETURN_IF_ERROR(test.row.test.n_verify > 0 ? run_verify_pairs(test) : run_metered(test));
  return interrupted() ? Status(ErrorCode::kCancelled, "interrupted") : Status();
}

void BenchRunner::finish(PreparedTest& test) const {
  BenchRow& row = test.row;
  row.first_token_ms /= static_cast<double>(row.samples_ns.size());
  if (row.on_cpu()) row.cost = cost_of(row.test);
  read_memory(row);
}

// With the time of all threads and the energy. (Not of verify tests: decode steps lie between the
// verify steps, and what the latter took alone is not counted.)
Status BenchRunner::run_metered(PreparedTest& test) {
  const double cpu_before = process_cpu_seconds();
  double joules_before = 0, joules_after = 0;
  CRIA_CLI_RETURN_IF_ERROR(read_energy(joules_before));
  CRIA_CLI_RETURN_IF_ERROR(run_once(test));
  test.row.cpu_seconds += process_cpu_seconds() - cpu_before;
  CRIA_CLI_RETURN_IF_ERROR(read_energy(joules_after));
  test.row.joules += joules_after - joules_before;
  if (meter_ != nullptr) test.row.energy_source = meter_->source();
  return {};
}

Status BenchRunner::read_energy(double& joules) {
  if (meter_ == nullptr) return {};
  Result<double> now = meter_->joules();
  if (!now.ok()) return now.status();
  joules = *now;
  return {};
}

const std::vector<std::int32_t>& BenchRunner::draw_ids(std::int64_t n_tokens) {
  ids_.resize(static_cast<std::size_t>(n_tokens));
  for (std::int32_t& id : ids_) id = static_cast<std::int32_t>(random_() % engine_.info().n_vocab);
  return ids_;
}

Status BenchRunner::prefill(std::int64_t n_tokens, KvCacheBuffer& cache) {
  const auto n_vocab = static_cast<std::size_t>(engine_.info().n_vocab);
  return engine_.forward(draw_ids(n_tokens), cache, std::span(logits_).first(n_vocab));
}

Status BenchRunner::verify(std::int64_t n_tokens, KvCacheBuffer& cache) {
  const auto n_logits = static_cast<std::size_t>(engine_.info().n_vocab * n_tokens);
  return engine_.forward_all(draw_ids(n_tokens), cache, std::span(logits_).first(n_logits));
}

ForwardCost BenchRunner::cost_of(const BenchTest& test) const {
  if (test.n_verify > 0) return engine_.forward_all_cost(test.n_verify, test.n_depth);
  ForwardCost cost = engine_.forward_cost(test.n_prompt, test.n_depth);
  for (std::int64_t i = 0; i < test.n_gen; ++i) {
    cost.add(engine_.forward_cost(1, test.n_depth + test.n_prompt + i));
  }
  return cost;
}

Status BenchRunner::warm_up(const BenchTest& test, KvCacheBuffer& cache) {
  if (test.n_verify == 0) return prefill(std::max<std::int64_t>(1, test.n_prompt), cache);
  CRIA_CLI_RETURN_IF_ERROR(verify(test.n_verify, cache));
  CRIA_CLI_RETURN_IF_ERROR(cache.rewind(test.n_depth));
  return prefill(1, cache);
}

Status BenchRunner::run_once(PreparedTest& prepared) {
  auto& [row, cache] = prepared;
  const BenchTest& test = row.test;
  const auto start = Clock::now();
  if (test.n_prompt > 0) {
    CRIA_CLI_RETURN_IF_ERROR(prefill(test.n_prompt, cache));
    // The first token is there once its logits are searched.
    best_ =
        std::max_element(logits_.begin(), logits_.begin() + row.model.n_vocab) - logits_.begin();
    row.first_token_ms += std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  }
  for (std::int64_t i = 0; i < test.n_gen; ++i) CRIA_CLI_RETURN_IF_ERROR(prefill(1, cache));
  row.samples_ns.push_back(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
  return {};
}

// Every step starts at the test's depth. Each kind runs behind the other, so that what one leaves
// in the caches, and what others do on the machine, meets both.
Status BenchRunner::run_verify_pairs(PreparedTest& prepared) {
  auto& [row, cache] = prepared;
  const BenchTest& test = row.test;
  const auto ns_since = [](Clock::time_point start) {
    return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
  };
  double verify_ns = 0;
  for (int i = 0; i < kVerifyPairs; ++i) {
    CRIA_CLI_RETURN_IF_ERROR(cache.rewind(test.n_depth));
    const auto decode_start = Clock::now();
    CRIA_CLI_RETURN_IF_ERROR(prefill(1, cache));
    row.decode_step_ns.push_back(ns_since(decode_start));
    CRIA_CLI_RETURN_IF_ERROR(cache.rewind(test.n_depth));
    const auto verify_start = Clock::now();
    CRIA_CLI_RETURN_IF_ERROR(verify(test.n_verify, cache));
    row.verify_step_ns.push_back(ns_since(verify_start));
    verify_ns += row.verify_step_ns.back();
  }
  row.samples_ns.push_back(static_cast<std::uint64_t>(verify_ns / kVerifyPairs));
  return {};
}

}  // namespace cria::cli

// `cria bench MODEL`: tokens a second, with llama-bench's flags and tables, and the share of what
// the machine can do at best. `cria bench --machine`: what that is.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "bench_report.h"
#include "bench_runner.h"
#include "bench_turns.h"
#include "commands.h"
#include "cria/energy.h"
#include "machine_report.h"
#include "model_arguments.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct BenchArguments {
  ModelArguments model;
  std::vector<std::int64_t> n_prompts = {512};
  std::vector<std::int64_t> n_gens = {128};
  std::vector<std::string> prompt_gens;  // "P,G"
  std::vector<std::int64_t> n_verifies = {0};
  std::vector<std::int64_t> n_depths = {0};
  std::vector<int> n_threads = {0};
  std::vector<std::int64_t> n_batches = {0};  // 0: as the program wants it
  std::vector<std::int64_t> n_ubatches = {0};
  std::vector<std::string> power_profiles = {"high_performance"};
  std::string sysfs_root = "/sys";  // where energy is read
  int n_repetitions = 5;
  bool in_turns = false;
  bool no_warmup = false;
  bool machine = false;     // measure the machine alone
  bool no_machine = false;  // leave it out
  double machine_seconds = MachineOptions().seconds;
  std::string format = "md";
};

Result<std::vector<BenchTest>> list_tests(const BenchArguments& arguments) {
  std::vector<BenchTest> tests;
  for (std::int64_t depth : arguments.n_depths) {
    for (std::int64_t n : arguments.n_prompts) {
      if (n > 0) tests.push_back({n, 0, depth});
    }
    for (std::int64_t n : arguments.n_gens) {
      if (n > 0) tests.push_back({0, n, depth});
    }
    for (const std::string& pair : arguments.prompt_gens) {
      BenchTest test{0, 0, depth};
      char rest = 0;
      if (std::sscanf(pair.c_str(), "%ld,%ld%c", &test.n_prompt, &test.n_gen, &rest) != 2 ||
          test.n_prompt < 1 || test.n_gen < 1) {
        return Status(ErrorCode::kInvalidArgument,
                      fmt::format("-pg {}: expected two positive numbers P,G", pair));
      }
      tests.push_back(test);
    }
    for (std::int64_t n : arguments.n_verifies) {
      if (n > 0) tests.push_back({.n_depth = depth, .n_verify = n});
    }
  }
  if (tests.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "nothing to measure: -p, -n, -pg and --verify are all 0");
  }
  return tests;
}

// A prompt is bound by the multiply-adds, generation by reading the weights; both together by
// neither.
Peak peak_of(const BenchRow& row, const std::optional<MachineReport>& machine) {
  const BenchTest& test = row.test;
  if (test.n_prompt > 0 && test.n_gen > 0) return {};
  if (test.n_prompt == 0) {
    return {"read", machine ? machine->best_read().bytes_per_second : 0};
  }
  const std::string type = row.model.activations == "a8" ? "int8" : "f32";
  return {type, machine ? machine->macs_per_second(type, row.n_threads) : 0};
}

MachineOptions machine_options(const BenchArguments& arguments) {
  MachineOptions options;
  options.seconds = arguments.machine_seconds;
  for (int n_threads : arguments.n_threads) {
    if (n_threads > 0) options.n_threads.push_back(n_threads);
  }
  return options;
}

Status bench_machine(const BenchArguments& arguments) {
  const Result<MachineReport> report = measure_machine(machine_options(arguments));
  if (!report.ok()) return report.status();
  return write_stdout(machine_text(arguments.format, *report));
}

// Each of `models` with each of `values`, that `set` puts in.
template <typename T, typename Set>
std::vector<ModelArguments> with_each(const std::vector<ModelArguments>& models,
                                      const std::vector<T>& values, Set set) {
  std::vector<ModelArguments> out;
  for (const ModelArguments& model : models) {
    for (const T& value : values) set(out.emplace_back(model), value);
  }
  return out;
}

std::vector<ModelArguments> list_engines(const BenchArguments& arguments) {
  using Model = ModelArguments;
  std::vector<Model> models = {arguments.model};
  models = with_each(models, arguments.power_profiles,
                     [](Model& m, const std::string& profile) { m.power_profile = profile; });
  models = with_each(models, arguments.n_threads, [](Model& m, int n) { m.n_threads = n; });
  models = with_each(models, arguments.n_batches, [](Model& m, std::int64_t n) { m.n_batch = n; });
  return with_each(models, arguments.n_ubatches, [](Model& m, std::int64_t n) { m.n_ubatch = n; });
}

ReportStyle style_of(const BenchArguments& arguments) {
  const std::vector<std::int64_t> unset = {0};
  return {.format = arguments.format,
          .verify = arguments.n_verifies != unset,
          .batches = arguments.n_batches != unset || arguments.n_ubatches != unset,
          .turns = arguments.in_turns};
}

// All rows of one `cria bench`.
class Bench {
 public:
  explicit Bench(const BenchArguments& arguments)
      : arguments_(arguments), style_(style_of(arguments)) {}

  Status run() {
    Result<std::vector<BenchTest>> tests = list_tests(arguments_);
    if (!tests.ok()) return tests.status();
    CRIA_CLI_RETURN_IF_ERROR(measure_machine_first());
    if (!meter_.ok()) fmt::print(stderr, "{}\n", meter_.status().message());
    CRIA_CLI_RETURN_IF_ERROR(write_stdout(report_begin(style_)));
    CRIA_CLI_RETURN_IF_ERROR(arguments_.in_turns ? run_in_turns(*tests) : run_by_rows(*tests));
    CRIA_CLI_RETURN_IF_ERROR(write_stdout(report_end(style_)));
    if (!machine_ || arguments_.format != "md") return {};
    return write_stdout("\n" + machine_line(*machine_));
  }

 private:
  Status measure_machine_first() {
    if (arguments_.no_machine) return {};
    const MachineOptions options = machine_options(arguments_);
    Result<MachineReport> report = measure_machine(options);
    if (!report.ok()) return report.status();
    machine_ = std::move(*report);
    if (arguments_.in_turns) sustained_.emplace(*machine_, options);
    return {};
  }

  // One row after the other, each written when it is there.
  Status run_by_rows(const std::vector<BenchTest>& tests) {
    for (const ModelArguments& model : list_engines(arguments_)) {
      std::vector<BenchLane> lane;
      CRIA_CLI_RETURN_IF_ERROR(open_lane(model, lane));
      for (const BenchTest& test : tests) {
        CRIA_CLI_RETURN_IF_ERROR(prepare(test, lane.front()));
        CRIA_CLI_RETURN_IF_ERROR(repeat_in_turns(lane, arguments_.n_repetitions, nullptr));
        CRIA_CLI_RETURN_IF_ERROR(write_rows(lane.front()));
        lane.front().tests.clear();
      }
    }
    return {};
  }

  // All engines and caches at once, all rows at the end.
  Status run_in_turns(const std::vector<BenchTest>& tests) {
    std::vector<BenchLane> lanes;
    for (const ModelArguments& model : list_engines(arguments_)) {
      CRIA_CLI_RETURN_IF_ERROR(open_lane(model, lanes));
      for (const BenchTest& test : tests) {
        CRIA_CLI_RETURN_IF_ERROR(prepare(test, lanes.back()));
      }
    }
    CRIA_CLI_RETURN_IF_ERROR(
        repeat_in_turns(lanes, arguments_.n_repetitions, sustained_ ? &*sustained_ : nullptr));
    for (BenchLane& lane : lanes) CRIA_CLI_RETURN_IF_ERROR(write_rows(lane));
    return {};
  }

  Status open_lane(const ModelArguments& model, std::vector<BenchLane>& lanes) {
    Result<Engine> engine = open_engine(model);
    if (!engine.ok()) return engine.status();
    if (engine->info().device.starts_with("sim:") && first_lane_) {
      fmt::print(stderr,
                 "{} is simulated: these are the times of the simulation on this machine; cria "
                 "profile and cria simulate tell the device's\n",
                 engine->info().device);
    }
    first_lane_ = false;
    const BenchRunOptions options = {.model_path = arguments_.model.model,
                                     .warm_up = !arguments_.no_warmup};
    lanes.push_back({BenchRunner(*engine, options, meter_.ok() ? &*meter_ : nullptr),
                     engine->n_threads(),
                     model.power_profile,
                     {}});
    return {};
  }

  Status prepare(const BenchTest& test, BenchLane& lane) {
    Result<PreparedTest> prepared = lane.runner.prepare(test);
    if (!prepared.ok()) return prepared.status();
    prepared->row.n_threads = lane.n_threads;
    prepared->row.power_profile = lane.power_profile;
    prepared->row.peak = peak_of(prepared->row, machine_);
    lane.tests.push_back(std::move(*prepared));
    return {};
  }

  Status write_rows(BenchLane& lane) {
    std::vector<BenchRow*> rows;
    for (PreparedTest& test : lane.tests) {
      lane.runner.finish(test);
      // What the machine is measured with is not the model's.
      const std::uint64_t extra = sustained_ ? sustained_->memory_bytes() : 0;
      test.row.rss_anon_bytes -= std::min(extra, test.row.rss_anon_bytes);
      rows.push_back(&test.row);
    }
    if (arguments_.in_turns) compare_depths(rows);
    for (const BenchRow* row : rows) {
      CRIA_CLI_RETURN_IF_ERROR(write_stdout(report_row(style_, *row, first_row_)));
      first_row_ = false;
    }
    return {};
  }

  const BenchArguments& arguments_;
  const ReportStyle style_;
  std::optional<MachineReport> machine_;
  std::optional<SustainedRates> sustained_;
  Result<EnergyMeter> meter_ = EnergyMeter::open(arguments_.sysfs_root);
  bool first_lane_ = true, first_row_ = true;
};

// A model or the machine: one of them, and not both.
void check_usage(const BenchArguments& arguments) {
  if (arguments.machine != arguments.model.model.empty()) {
    throw CLI::ValidationError(
        "bench", arguments.machine ? "--machine takes no MODEL" : "MODEL or --machine is required");
  }
}

// What is measured and how it is written.
void add_test_flags(CLI::App& command, BenchArguments& arguments) {
  const auto sizes = CLI::Range(std::int64_t{0}, std::int64_t{1} << 24);
  command.add_option("-p,--n-prompt", arguments.n_prompts, "prompt lengths (comma separated)")
      ->delimiter(',')
      ->check(sizes);
  command.add_option("-n,--n-gen", arguments.n_gens, "generated tokens")
      ->delimiter(',')
      ->check(sizes);
  command.add_option("--pg", arguments.prompt_gens, "prompt and generated tokens together: P,G")
      ->expected(1)
      ->take_all();
  command
      .add_option("--verify", arguments.n_verifies,
                  "tokens of a verify step, measured beside a decode step")
      ->delimiter(',')
      ->check(sizes);
  command.add_option("-d,--n-depth", arguments.n_depths, "tokens already in the cache")
      ->delimiter(',')
      ->check(sizes);
  command.add_option("-r,--repetitions", arguments.n_repetitions, "repetitions")
      ->check(CLI::Range(1, 1000));
  command.add_flag(
      "--in-turns", arguments.in_turns,
      "all tests take turns with their repetitions, and the machine is measured beside "
      "each: where others use it, too");
  command.add_option("-t,--threads", arguments.n_threads, "threads (0: all cores)")
      ->delimiter(',')
      ->check(CLI::Range(0, 256));
  command
      .add_option("-b,--batch-size", arguments.n_batches,
                  "prompt tokens after which a new step begins (comma separated)")
      ->delimiter(',')
      ->check(batch_sizes());
  command
      .add_option("--ubatch-size", arguments.n_ubatches,
                  "-ub: most tokens of a step, as far as the model's methods take so many")
      ->delimiter(',')
      ->check(batch_sizes());
  command
      .add_option("--power-profile", arguments.power_profiles,
                  "high_performance, balanced, low_power (comma separated)")
      ->delimiter(',')
      ->check(power_profiles());
  command.add_option("--sysfs", arguments.sysfs_root,
                     "where to look for energy counters, instead of /sys");
  command.add_option("-o,--output", arguments.format, "md, json, jsonl or csv")
      ->check(CLI::IsMember({"md", "json", "jsonl", "csv"}));
  command.add_flag("--no-warmup", arguments.no_warmup, "measure the first run, too");
  command.add_flag("--machine", arguments.machine,
                   "measure what this machine can do at best, without a model");
  command
      .add_option("--machine-seconds", arguments.machine_seconds,
                  "how long to measure the machine: more where others use it, too")
      ->check(CLI::Range(0.0, 600.0));
  command.add_flag("--no-machine", arguments.no_machine,
                   "do not measure the machine (about a second), tell no share of its peaks");
}

}  // namespace

void add_bench(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("bench", "measure speed");
  command->add_option("MODEL,-m,--model", arguments->model.model, "the model");
  add_quant(*command, arguments->model.quant);
  command->add_option("--act", arguments->model.activations, "activations: a8 or a16")
      ->check(CLI::IsMember({"a8", "a16"}));
  add_cache_types(*command, arguments->model.cache_type_k, arguments->model.cache_type_v);
  add_device(*command, arguments->model);
  command->add_option("--tokenizer", arguments->model.tokenizer,
                      "tokenizer file, in place of the model's own");
  command->add_option("--cache-dir", arguments->model.cache_dir, "where compiled models are kept");
  add_test_flags(*command, *arguments);
  command->add_flag("-v,--verbose", arguments->model.verbose, "say on stderr what is loaded");
  command->callback([arguments, &selected] {
    check_usage(*arguments);
    selected = [arguments] {
      catch_interrupt();
      const Status status =
          arguments->machine ? bench_machine(*arguments) : Bench(*arguments).run();
      return status.ok() ? 0 : fail(status);
    };
  });
}

}  // namespace cria::cli

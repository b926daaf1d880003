// `cria profile MODEL`: where the time of a prompt and of generation goes, op by op.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>

#include "commands.h"
#include "cria/machine.h"
#include "model_arguments.h"
#include "profile_npu.h"
#include "profile_report.h"
#include "profile_shared.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct ProfileArguments {
  ModelArguments model;
  std::int64_t n_prompt = 512;
  std::int64_t n_gen = 32;
  std::int64_t n_depth = 0;
  int n_repetitions = 1;  // of the prompt
  bool watch = false;
  bool layers = false;
  bool json = false;
  bool no_changes = false;
  bool estimate = false;
  std::string trace_path;
};

std::uint64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

// Runs the forward calls and listens to their ops. Token ids are random: what they are does not
// change the work.
class Profiler {
 public:
  explicit Profiler(const ProfileArguments& arguments) : arguments_(arguments) {
    profile_.model_path = arguments.model.model;
  }

  void hear(const OpRecord& record) {
    if (!listening_) return;
    const bool quiet_before = quiet_;
    look_at_cores();
    profile_.add(record, quiet_before && quiet_);
  }

  Status run(const Engine& engine) {
    profile_.model = engine.info();
    profile_.n_threads = engine.n_threads();
    const ProfileArguments& a = arguments_;
    const std::int64_t n_ctx = a.n_depth + a.n_prompt + std::max<std::int64_t>(a.n_gen, 1);
    const Result<std::uint64_t> kv_bytes = engine.kv_cache_bytes(n_ctx);
    if (!kv_bytes.ok()) return kv_bytes.status();
    Result<KvCacheBuffer> cache = KvCacheBuffer::allocate(*kv_bytes);
    if (!cache.ok()) return cache.status();
    logits_.resize(static_cast<std::size_t>(engine.info().n_vocab));
    if (a.n_depth > 0) CRIA_CLI_RETURN_IF_ERROR(forward(engine, a.n_depth, *cache));
    // Once unheard: the first call waits for pages of the file.
    CRIA_CLI_RETURN_IF_ERROR(forward(engine, std::max<std::int64_t>(a.n_prompt, 1), *cache));
    CRIA_CLI_RETURN_IF_ERROR(cache->rewind(a.n_depth));
    if (a.watch) watch_.emplace(engine.n_threads());
    listening_ = true;
    if (a.n_prompt > 0) {
      ProfilePhase& prefill = begin_phase("prefill", *cache);
      for (int i = 0; i < a.n_repetitions; ++i) {
        CRIA_CLI_RETURN_IF_ERROR(cache->rewind(a.n_depth));
        CRIA_CLI_RETURN_IF_ERROR(run_forward(engine, a.n_prompt, *cache, prefill));
      }
    }
    if (a.n_gen > 0) {
      ProfilePhase& decode = begin_phase("decode", *cache);
      for (std::int64_t i = 0; i < a.n_gen; ++i) {
        CRIA_CLI_RETURN_IF_ERROR(run_forward(engine, 1, *cache, decode));
      }
    }
    listening_ = false;
    if (watch_) profile_.additions_per_second = watch_->best_additions_per_second();
    return {};
  }

  // The forward calls of run(), and nothing runs.
  void lay_out(const Engine& engine) {
    profile_.model = engine.info();
    profile_.n_threads = engine.n_threads();
    const ProfileArguments& a = arguments_;
    const auto add = [&](const char* name, std::int64_t n_depth, std::int64_t n_forwards,
                         std::int64_t n_tokens) {
      ProfilePhase& phase = profile_.phases.emplace_back();
      phase.name = name;
      phase.n_depth = n_depth;
      for (std::int64_t i = 0; i < n_forwards; ++i)
        phase.forwards.push_back({.n_tokens = n_tokens});
    };
    if (a.n_prompt > 0) add("prefill", a.n_depth, a.n_repetitions, a.n_prompt);
    if (a.n_gen > 0) add("decode", a.n_depth + a.n_prompt, a.n_gen, 1);
  }

  const Profile& profile() const { return profile_; }

 private:
  ProfilePhase& begin_phase(const char* name, const KvCacheBuffer& cache) {
    ProfilePhase& phase = profile_.phases.emplace_back();
    phase.name = name;
    phase.n_depth = cache.position();
    return phase;
  }

  Status run_forward(const Engine& engine, std::int64_t n_tokens, KvCacheBuffer& cache,
                     ProfilePhase& phase) {
    look_at_cores();
    ForwardSample sample;
    sample.n_tokens = n_tokens;
    sample.first_op = profile_.ops.size();
    draw_ids(engine, n_tokens);
    sample.start_ns = now_ns();
    CRIA_CLI_RETURN_IF_ERROR(engine.forward(ids_, cache, logits_));
    sample.end_ns = now_ns();
    sample.end_op = profile_.ops.size();
    phase.forwards.push_back(sample);
    if (interrupted()) return Status(ErrorCode::kCancelled, "interrupted");
    return {};
  }

  void look_at_cores() {
    if (watch_) quiet_ = watch_->is_quiet();
  }

  Status forward(const Engine& engine, std::int64_t n_tokens, KvCacheBuffer& cache) {
    draw_ids(engine, n_tokens);
    return engine.forward(ids_, cache, logits_);
  }

  void draw_ids(const Engine& engine, std::int64_t n_tokens) {
    ids_.resize(static_cast<std::size_t>(n_tokens));
    for (std::int32_t& id : ids_) {
      id = static_cast<std::int32_t>(random_() % engine.info().n_vocab);
    }
  }

  const ProfileArguments& arguments_;
  Profile profile_;
  bool listening_ = false;
  std::optional<CoreWatch> watch_;
  bool quiet_ = false;  // the cores were, when last looked at
  std::vector<std::int32_t> ids_;
  std::vector<float> logits_;
  std::mt19937 random_{1};
};

bool is_simulated(std::string_view device) { return device.starts_with("sim:"); }

// Nothing runs: commands are timed.
Status profile_simulated(const ProfileArguments& arguments) {
  const ModelArguments& model = arguments.model;
  NpuProfileOptions options;
  options.model.model = model.model;
  options.model.device = model.device;
  if (model.quant != "source") options.model.quant = model.quant;
  if (!model.activations.empty()) options.model.activations = model.activations;
  options.model.cache_type_k = model.cache_type_k;
  options.model.cache_type_v = model.cache_type_v;
  options.model.prefill_chunk = model.n_ubatch;
  options.model.power_profile = model.power_profile;
  options.model.n_depth = arguments.n_depth;
  options.model.n_prompt = std::max<std::int64_t>(arguments.n_prompt, 1);
  options.model.n_context = arguments.n_depth + options.model.n_prompt;
  options.model.n_generate = std::max<std::int64_t>(arguments.n_gen, 1);
  options.events = !arguments.trace_path.empty();
  options.changes = !arguments.no_changes;
  const Result<NpuProfileReport> report = profile_on_npu(options);
  if (!report.ok()) return report.status();
  if (!arguments.trace_path.empty()) {
    CRIA_CLI_RETURN_IF_ERROR(write_text(arguments.trace_path, npu_profile_trace(*report)));
  }
  return write_stdout(arguments.json ? npu_profile_json(*report) : npu_profile_text(*report));
}

// The program ran, so that the processor's ops could be measured; or not, and they are estimated.
Status report_shared(const ProfileArguments& arguments, const Profile& profile) {
  const Result<Timeline> timeline = timeline_of(profile, arguments.model.power_profile);
  if (!timeline.ok()) return timeline.status();
  if (!arguments.trace_path.empty())
    CRIA_CLI_RETURN_IF_ERROR(write_text(arguments.trace_path, timeline->trace));
  return write_stdout(arguments.json ? shared_profile_json(profile, *timeline)
                                     : shared_profile_text(profile, *timeline));
}

Status profile(const ProfileArguments& arguments) {
  const bool shared = is_shared_with_npu(arguments.model.model);
  if (arguments.estimate && !shared) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("--estimate: {} is no program that an NPU and the processor share",
                              arguments.model.model));
  }
  if (is_simulated(arguments.model.device) && !shared) return profile_simulated(arguments);
  Profiler profiler(arguments);
  ModelArguments model = arguments.model;
  model.on_op = [&profiler](const OpRecord& record) { profiler.hear(record); };
  Result<Engine> engine = open_engine(model);
  if (!engine.ok()) return engine.status();
  if (is_simulated(engine->info().device) && !shared) return profile_simulated(arguments);
  if (arguments.estimate) {
    profiler.lay_out(*engine);
  } else {
    CRIA_CLI_RETURN_IF_ERROR(profiler.run(*engine));
  }
  if (shared) return report_shared(arguments, profiler.profile());
  if (!arguments.trace_path.empty()) {
    CRIA_CLI_RETURN_IF_ERROR(write_text(arguments.trace_path, profile_trace(profiler.profile())));
  }
  return write_stdout(arguments.json ? profile_json(profiler.profile())
                                     : profile_text(profiler.profile(), arguments.layers));
}

}  // namespace

void add_profile(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<ProfileArguments>();
  CLI::App* command =
      app.add_subcommand("profile", "where the time of a prompt and of generation goes, op by op");
  add_model_arguments(*command, arguments->model);
  // Shapes have encodings, not recipes.
  command->get_option("--quant")->get_validator(0)->active(false);
  command->add_option(
      "--device", arguments->model.device,
      "sim:NAME or sim:PATH of an NPU's profile: in simulated time, and what changes "
      "would buy; MODEL may then be a shape, too: 1b, 3b, 1.1b");
  const auto sizes = CLI::Range(std::int64_t{0}, std::int64_t{1} << 24);
  command->add_option("-p,--n-prompt", arguments->n_prompt, "tokens of the prompt (0: none)")
      ->check(sizes);
  command->add_option("-n,--n-gen", arguments->n_gen, "decode steps (0: none)")->check(sizes);
  command->add_option("-d,--n-depth", arguments->n_depth, "tokens already in the cache")
      ->check(sizes);
  command->add_option("-r,--repetitions", arguments->n_repetitions, "how often the prompt is run")
      ->check(CLI::Range(1, 1000));
  command->add_flag("--watch-cores", arguments->watch,
                    "look between ops whether others use the cores, and tell apart what the calls "
                    "take that nobody disturbed");
  command->add_flag("--no-changes", arguments->no_changes,
                    "on a simulated NPU: do not try what changes would buy");
  command->add_flag("--estimate", arguments->estimate,
                    "of a program that an NPU and the processor share: nothing runs, the "
                    "processor's ops take what the NPU's profile says");
  command->add_flag("--layers", arguments->layers, "also by layer");
  command->add_flag("--json", arguments->json, "as JSON, with every op of every layer");
  command->add_option("--trace", arguments->trace_path,
                      "write a trace that Perfetto and chrome://tracing open");
  command->callback([arguments, &selected] {
    const Status recipe =
        is_simulated(arguments->model.device) ? Status() : check_recipe(arguments->model.quant);
    if (!recipe.ok()) throw CLI::ValidationError("--quant", recipe.message());
    if (arguments->n_prompt == 0 && arguments->n_gen == 0) {
      throw CLI::ValidationError("profile", "nothing to run: -p and -n are both 0");
    }
    selected = [arguments] {
      catch_interrupt();
      const Status status = profile(*arguments);
      return status.ok() ? 0 : fail(status);
    };
  });
}

}  // namespace cria::cli

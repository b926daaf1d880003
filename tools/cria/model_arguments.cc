#include "model_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>

#include "terminal.h"

namespace cria::cli {
namespace {

constexpr int kMaxThreads = 256;
constexpr std::int64_t kDefaultContext = 4096;

std::string names_of(const std::vector<RecipeInfo>& infos) {
  std::string names;
  for (const RecipeInfo& info : infos) names += (names.empty() ? "" : ", ") + info.name;
  return names;
}

}  // namespace

CLI::Option* add_threads(CLI::App& command, int& n_threads) {
  return command.add_option("-t,--threads", n_threads, "threads (0: all cores)")
      ->check(CLI::Range(0, kMaxThreads));
}

CLI::Validator batch_sizes() { return CLI::Range(std::int64_t{1}, std::int64_t{1} << 24); }

CLI::Validator power_profiles() {
  return CLI::IsMember({"high_performance", "balanced", "low_power"});
}

CLI::Option* add_quant(CLI::App& command, std::string& recipe) {
  const std::string help = fmt::format(
      "how weights are quantized (default: as they are; compile: floats of large models q5 or q4): "
      "{}; methods may follow, as in "
      "q4_0+rotate+gptq: {}; or a recipe file, NAME.toml",
      names_of(quantization_recipes()), names_of(quantization_methods()));
  return command.add_option("--quant", recipe, help)->check([](const std::string& name) {
    return check_recipe(name).message();
  });
}

void add_cache_types(CLI::App& command, std::string& k, std::string& v) {
  const auto types = CLI::IsMember({"f16", "q8_0"});
  command.add_option("--cache-type-k", k, "keys in the KV cache, -ctk: f16 or q8_0")->check(types);
  command.add_option("--cache-type-v", v, "values in the KV cache, -ctv: f16 or q8_0")
      ->check(types);
}

void add_model_arguments(CLI::App& command, ModelArguments& arguments) {
  command
      .add_option("MODEL", arguments.model,
                  "a .pte, a GGUF file, a Hugging Face folder, a llama2.c .bin, or an id in the "
                  "Hugging Face cache")
      ->required();
  add_quant(command, arguments.quant);
  command.add_option("--tokenizer", arguments.tokenizer,
                     "tokenizer file, in place of the model's own");
  command
      .add_option("--act", arguments.activations, "activations: a8 (int8 blocks) or a16 (float)")
      ->check(CLI::IsMember({"a8", "a16"}));
  add_cache_types(command, arguments.cache_type_k, arguments.cache_type_v);
  add_threads(command, arguments.n_threads);
  command
      .add_option("-b,--batch-size", arguments.n_batch,
                  "prompt tokens after which a new step begins")
      ->check(batch_sizes());
  command
      .add_option("--ubatch-size", arguments.n_ubatch,
                  "-ub: most tokens of a step, as far as the model's methods take so many")
      ->check(batch_sizes());
  command
      .add_option("--power-profile", arguments.power_profile,
                  "high_performance, balanced (waiting threads sleep) or low_power (half the "
                  "cores, at most 10 "
                  "tokens a second)")
      ->check(power_profiles());
  command.add_option("--cache-dir", arguments.cache_dir, "where compiled models are kept");
  command.add_flag("-v,--verbose", arguments.verbose,
                   "say on stderr what is done and how long it took");
}

void add_device(CLI::App& command, ModelArguments& arguments) {
  command.add_option("--device", arguments.device,
                     "cpu, or sim:PROFILE, a simulated NPU: what a checkpoint is compiled for; a "
                     ".pte for another device is refused");
}

void warn_of_two_bits(const CompileReport& report) {
  const auto n =
      std::count_if(report.tensors.begin(), report.tensors.end(), [](const CompiledTensor& tensor) {
        return tensor.method != "carried" &&
               (tensor.encoding.starts_with("q2") || tensor.encoding.starts_with("e8p2"));
      });
  if (n == 0) return;
  fmt::print(stderr,
             "cria: warning: {} matrices have 2 bits a weight, which costs small models much of "
             "what they can do; cria eval says how much\n",
             n);
}

Result<Engine> open_engine(const ModelArguments& arguments) {
  ProgressBar bar;
  CompileOptions compile;
  compile.source = arguments.model;
  compile.tokenizer_path = arguments.tokenizer;
  compile.recipe = arguments.quant;
  compile.cache_type_k = arguments.cache_type_k;
  compile.cache_type_v = arguments.cache_type_v;
  compile.n_threads = arguments.n_threads;
  if (!arguments.device.empty()) compile.device = arguments.device;
  compile.progress = bar.callback();
  Result<PreparedModel> prepared = prepare_model(compile, arguments.cache_dir);
  if (!prepared.ok()) return prepared.status();
  if (prepared->compiled_now) warn_of_two_bits(prepared->report);
  if (prepared->compiled_now && (arguments.verbose || stderr_is_terminal())) {
    const CompileReport& report = prepared->report;
    fmt::print(stderr, "compiled {}: {}, {:.2f} bits a weight, {} in {}\n",
               report.source_description, format_bytes(report.file_bytes), report.bits_per_weight,
               prepared->pte_path, format_seconds(report.seconds));
  }
  Result<Engine> engine =
      Engine::load(prepared->pte_path, {.n_threads = arguments.n_threads,
                                        .power_profile = arguments.power_profile,
                                        .activations = arguments.activations,
                                        .device = arguments.device,
                                        .n_batch = arguments.n_batch,
                                        .n_ubatch = arguments.n_ubatch,
                                        .on_op = arguments.on_op});
  if (engine.ok() && arguments.verbose) {
    const ModelInfo& info = engine->info();
    fmt::print(stderr, "loaded {} ({}) for {}: {} in {}, context up to {}, activations {}\n",
               prepared->pte_path, info.description, info.device, format_bytes(info.file_bytes),
               format_seconds(info.load_seconds), info.max_context, info.activations);
  }
  return engine;
}

std::int64_t choose_context(std::int64_t wanted, const ModelInfo& info) {
  return wanted > 0 ? wanted : std::min(info.max_context, kDefaultContext);
}

Status write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text << std::flush;
  if (file) return {};
  return Status(ErrorCode::kIo, fmt::format("{}: cannot write the file", path));
}

Result<std::string> read_text(const std::string& path) {
  if (path == "-") {
    return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return Status(ErrorCode::kNotFound, fmt::format("{}: cannot read the file", path));
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) return Status(ErrorCode::kIo, fmt::format("{}: cannot read the file", path));
  return text;
}

}  // namespace cria::cli

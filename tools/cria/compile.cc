// `cria compile SRC -o OUT.pte`.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "budget_report.h"
#include "commands.h"
#include "cria/quality_gate.h"
#include "cria/toolchain.h"
#include "evaluation_report.h"
#include "model_arguments.h"
#include "pins.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct CompileArguments {
  CompileOptions options;
  std::string out_path;
  std::string budget;       // empty: none
  std::string budget_path;  // the text that matrices are measured on; empty: that of --eval
  std::string recipe_path;  // where to write what the budget bought; empty: nowhere
  BudgetOptions budget_options;
  std::string eval_path;  // empty: not evaluated
  QualityGate gate;
  std::string place;  // "attention=npu,softmax=cpu"
  bool json = false;
  bool verbose = false;
};

// What was measured beside the compilation.
struct Findings {
  std::optional<BudgetReport> budget;
  std::optional<EvaluateReport> quality;
};

nlohmann::ordered_json report_json(const CompileArguments& arguments, const CompileReport& report,
                                   const Findings& findings) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const CompiledTensor& tensor : report.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"encoding", tensor.encoding},
                       {"shape", {tensor.n_rows, tensor.n_cols}},
                       {"bytes", tensor.size_bytes},
                       {"method", tensor.method},
                       {"relative_mse", tensor.relative_mse}});
    if (tensor.output_error) tensors.back()["output_error"] = *tensor.output_error;
    if (!tensor.note.empty()) tensors.back()["note"] = tensor.note;
  }
  nlohmann::ordered_json json = {
      {"source", arguments.options.source}, {"source_description", report.source_description},
      {"out", arguments.out_path},          {"recipe", report.recipe},
      {"file_bytes", report.file_bytes},    {"weight_bytes", report.weight_bytes},
      {"parameters", report.n_parameters},  {"bits_per_weight", report.bits_per_weight},
      {"seconds", report.seconds},          {"tensors", tensors},
      {"remarks", report.remarks}};
  if (findings.budget) json["budget"] = budget_json(*findings.budget);
  if (findings.quality) json["quality"] = evaluation_json(*findings.quality);
  return json;
}

// One line for each reason why tensors could not be kept as they are: how many, and what that cost.
void print_notes(const CompileReport& report) {
  struct Group {
    int n_tensors = 0;
    double sum_mse = 0;
    const CompiledTensor* worst = nullptr;
  };
  std::map<std::string, Group> groups;
  for (const CompiledTensor& tensor : report.tensors) {
    if (tensor.note.empty()) continue;
    Group& group = groups[tensor.note];
    ++group.n_tensors;
    group.sum_mse += tensor.relative_mse;
    if (!group.worst || tensor.relative_mse > group.worst->relative_mse) group.worst = &tensor;
  }
  for (const auto& [note, group] : groups) {
    fmt::print(
        stderr,
        "  {} tensors were rounded anew: {}; relative error {:.5f} % (worst: {}, {:.5f} %)\n",
        group.n_tensors, note, 100 * group.sum_mse / group.n_tensors, group.worst->name,
        100 * group.worst->relative_mse);
  }
}

// "blk.3.ffn_up.weight" -> "layer 3"; "" for what is outside of the layers.
std::string layer_of(const std::string& tensor) {
  constexpr std::string_view kBlock = "blk.";
  if (!tensor.starts_with(kBlock)) return "";
  return "layer " + tensor.substr(kBlock.size(), tensor.find('.', kBlock.size()) - kBlock.size());
}

// One line a layer in which something was lost, and one each for matrices outside of the layers.
void print_layer_errors(const CompileReport& report) {
  struct Layer {
    std::string name;
    double sum = 0, sum_output = 0;
    int n_tensors = 0, n_outputs = 0;
    const CompiledTensor* worst = nullptr;
  };
  std::vector<Layer> layers;
  for (const CompiledTensor& tensor : report.tensors) {
    if (tensor.n_rows <= 1) continue;
    std::string name = layer_of(tensor.name);
    if (name.empty()) name = tensor.name;
    auto layer =
        std::find_if(layers.begin(), layers.end(), [&](const Layer& l) { return l.name == name; });
    if (layer == layers.end()) layer = layers.insert(layers.end(), Layer{name});
    layer->sum += tensor.relative_mse;
    ++layer->n_tensors;
    if (tensor.output_error) layer->sum_output += *tensor.output_error, ++layer->n_outputs;
    if (!layer->worst || tensor.relative_mse > layer->worst->relative_mse) layer->worst = &tensor;
  }
  for (const Layer& layer : layers) {
    if (!(layer.sum > 0)) continue;
    fmt::print(stderr, "  {:<18} relative error {:.4f} %", layer.name,
               100 * layer.sum / layer.n_tensors);
    if (layer.n_tensors > 1) {
      fmt::print(stderr, ", worst {:.4f} % ({} in {})", 100 * layer.worst->relative_mse,
                 layer.worst->name, layer.worst->encoding);
    }
    if (layer.n_outputs > 0)
      fmt::print(stderr, "; of the output {:.4f} %", 100 * layer.sum_output / layer.n_outputs);
    fmt::print(stderr, "\n");
  }
}

// One line an encoding: how many tensors, bytes, and the error where something was lost.
void print_summary(const CompileArguments& arguments, const CompileReport& report) {
  struct Group {
    int n_tensors = 0;
    std::uint64_t size_bytes = 0;
    double worst_mse = 0;
  };
  std::map<std::string, Group> groups;
  for (const CompiledTensor& tensor : report.tensors) {
    Group& group = groups[tensor.encoding];
    ++group.n_tensors;
    group.size_bytes += tensor.size_bytes;
    group.worst_mse = std::max(group.worst_mse, tensor.relative_mse);
  }
  fmt::print(stderr, "{} -> {}: {} parameters, {:.2f} bits a weight, {} in {}\n",
             report.source_description, arguments.out_path, report.n_parameters,
             report.bits_per_weight, format_bytes(report.file_bytes),
             format_seconds(report.seconds));
  for (const auto& [encoding, group] : groups) {
    fmt::print(stderr, "  {:<8} {:4} tensors {:>10}", encoding, group.n_tensors,
               format_bytes(group.size_bytes));
    if (group.worst_mse > 0)
      fmt::print(stderr, "  worst relative error {:.3f} %", 100 * group.worst_mse);
    fmt::print(stderr, "\n");
  }
  print_notes(report);
  for (const std::string& remark : report.remarks) fmt::print(stderr, "cria: {}\n", remark);
  if (!arguments.verbose) return print_layer_errors(report);
  for (const CompiledTensor& tensor : report.tensors) {
    fmt::print(stderr, "  {:<28} {:<7} {:>6} x {:<6} {:>10}  {:<18} error {:.4f} %", tensor.name,
               tensor.encoding, tensor.n_rows, tensor.n_cols, format_bytes(tensor.size_bytes),
               tensor.method, 100 * tensor.relative_mse);
    if (tensor.output_error)
      fmt::print(stderr, "  of the output {:.4f} %", 100 * *tensor.output_error);
    fmt::print(stderr, "\n");
  }
}

// --eval and --budget-text. Each once: standard input can be read no second time.
Status read_texts(CompileArguments& arguments) {
  if (!arguments.eval_path.empty()) {
    Result<std::string> text = read_text(arguments.eval_path);
    if (!text.ok()) return text.status();
    arguments.gate.text = *std::move(text);
  }
  if (arguments.budget.empty()) return {};
  if (arguments.budget_path.empty() || arguments.budget_path == arguments.eval_path) {
    arguments.budget_options.text = arguments.gate.text;
    return {};
  }
  Result<std::string> text = read_text(arguments.budget_path);
  if (!text.ok()) return text.status();
  arguments.budget_options.text = *std::move(text);
  return {};
}

// The encodings that the budget buys become the recipe.
Status spend_budget(CompileArguments& arguments, Findings& findings) {
  CompileOptions& options = arguments.options;
  if (options.recipe == "default") options.recipe = "q4";
  Result<BudgetReport> report = fit_budget(options, arguments.budget_options, arguments.out_path);
  if (!report.ok()) return report.status();
  options.recipe_text = report->recipe_text;
  options.recipe += " in " + arguments.budget;
  findings.budget = *std::move(report);
  if (arguments.recipe_path.empty()) return {};
  return write_text(arguments.recipe_path, options.recipe_text);
}

Result<CompileReport> compile_measured(CompileArguments& arguments, Findings& findings) {
  if (arguments.eval_path.empty()) return compile(arguments.options, arguments.out_path);
  Result<GatedReport> gated = compile_gated(arguments.options, arguments.gate, arguments.out_path);
  if (!gated.ok()) return gated.status();
  findings.quality = gated->quality;
  return std::move(gated->compile);
}

Status compile_and_print(CompileArguments& arguments) {
  ProgressBar bar;
  arguments.options.progress = bar.callback();
  Result<Pins> pins = read_pins(arguments.place);
  if (!pins.ok()) return pins.status();
  arguments.options.pins = std::move(*pins);
  CRIA_CLI_RETURN_IF_ERROR(read_texts(arguments));
  Findings findings;
  if (!arguments.budget.empty()) {
    CRIA_CLI_RETURN_IF_ERROR(spend_budget(arguments, findings));
  }
  Result<CompileReport> report = compile_measured(arguments, findings);
  if (!report.ok()) return report.status();
  warn_of_two_bits(*report);
  if (arguments.json) return write_stdout(report_json(arguments, *report, findings).dump(2) + "\n");
  print_summary(arguments, *report);
  std::string answer;
  if (findings.budget) answer += budget_text(*findings.budget);
  if (findings.quality) answer += evaluation_text(*findings.quality);
  return write_stdout(answer);
}

int run(CompileArguments& arguments) {
  catch_interrupt();
  const Status status = compile_and_print(arguments);
  return status.ok() ? 0 : fail(status);
}

// --budget and what depends on it.
void add_budget(CLI::App& command, CompileArguments& arguments) {
  CLI::Option* budget =
      command
          .add_option(
              "--budget", arguments.budget,
              "find each matrix's encoding for a file of so much, as 1.8GB, 700MiB or 4.25bpw; "
              "--quant gives the methods (default: q4)")
          ->check([](const std::string& text) {
            BudgetOptions parsed;
            return parse_budget(text, parsed);
          });
  command
      .add_option("--budget-text", arguments.budget_path,
                  "the text that matrices are measured on (default: that of --eval)")
      ->needs(budget);
  command
      .add_option("--budget-chunks", arguments.budget_options.n_windows,
                  "windows of 128 tokens that they are measured on (default: 2)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->needs(budget);
  command
      .add_option("--save-recipe", arguments.recipe_path,
                  "write what was found as a recipe file, NAME.toml")
      ->check([](const std::string& path) {
        return path.ends_with(".toml") ? "" : "the recipe file's name must end in .toml";
      })
      ->needs(budget);
}

// --eval and what depends on it.
void add_quality_gate(CLI::App& command, CompileArguments& arguments) {
  QualityGate& gate = arguments.gate;
  CLI::Option* eval = command.add_option(
      "--eval", arguments.eval_path,
      "a text (-: standard input): measure perplexity, KL and agreement with the source on it");
  command.add_option("--max-kl", gate.max_kl, "write nothing if the mean KL is above this (nats)")
      ->check(CLI::NonNegativeNumber)
      ->needs(eval);
  command
      .add_option("--max-ppl-loss", gate.max_ppl_loss_percent,
                  "write nothing if the perplexity is more percent than this above the source's")
      ->check(CLI::NonNegativeNumber)
      ->needs(eval);
  command
      .add_option("--eval-ctx", gate.n_ctx, "tokens a window of --eval (0: 512, or the context)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24))
      ->needs(eval);
  command.add_option("--eval-chunks", gate.max_windows, "windows of --eval to score (0: all)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->needs(eval);
  add_budget(command, arguments);
}

}  // namespace

void add_compile(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<CompileArguments>();
  CompileOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand("compile", "compile a checkpoint into a .pte");
  command
      ->add_option("SRC", options.source,
                   "a GGUF file, a Hugging Face folder, a llama2.c .bin, or a cached id")
      ->required();
  command->add_option("-o,--output", arguments->out_path, "the .pte to write")->required();
  options.recipe = "default";
  add_quant(*command, options.recipe);
  command->add_option("--calibration", options.calibration_path,
                      "statistics of `cria calibrate`, for methods that use them");
  command
      ->add_option("--ctx", options.max_context,
                   "positions a cache may have at most (0: the checkpoint's)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24));
  command->add_option("--act", options.activations, "default activations: a8 or a16")
      ->check(CLI::IsMember({"a8", "a16"}));
  command->add_flag("!--no-sparse", options.sparse, "store zeros like all other weights");
  command->add_option("--device", options.device,
                      "cpu, or sim:PROFILE, a simulated NPU (cria devices lists the profiles)");
  command->add_option("--place", arguments->place,
                      "ops that the processor beside an NPU runs, by kind or name: "
                      "softmax=cpu,blk.0.qkv=cpu");
  command
      ->add_option("--prefill-chunk", options.prefill_chunk,
                   "most tokens a call of prefill brings (0: 256; on an NPU 64)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{4096}));
  command->add_option("--tokenizer", options.tokenizer_path,
                      "tokenizer file, in place of the checkpoint's own");
  add_cache_types(*command, options.cache_type_k, options.cache_type_v);
  add_threads(*command, options.n_threads);
  add_quality_gate(*command, *arguments);
  command->add_flag("--json", arguments->json, "the report as JSON on stdout");
  command->add_flag("-v,--verbose", arguments->verbose, "one line a tensor");
  command->callback([arguments, &selected] {
    if (!arguments->budget.empty()) {
      if (arguments->budget_path.empty() && arguments->eval_path.empty()) {
        throw CLI::RequiredError("--budget: --budget-text or --eval");
      }
      parse_budget(arguments->budget, arguments->budget_options);
    }
    selected = [arguments] { return run(*arguments); };
  });
}

}  // namespace cria::cli

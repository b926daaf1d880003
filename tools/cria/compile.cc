// `cria compile SRC -o OUT.pte`.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "cria/toolchain.h"
#include "model_arguments.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct CompileArguments {
  CompileOptions options;
  std::string out_path;
  bool json = false;
  bool verbose = false;
};

nlohmann::ordered_json report_json(const CompileArguments& arguments, const CompileReport& report) {
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
  return {{"source", arguments.options.source}, {"source_description", report.source_description},
          {"out", arguments.out_path},          {"recipe", arguments.options.recipe},
          {"file_bytes", report.file_bytes},    {"weight_bytes", report.weight_bytes},
          {"parameters", report.n_parameters},  {"bits_per_weight", report.bits_per_weight},
          {"seconds", report.seconds},          {"tensors", tensors}};
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
  if (!arguments.verbose) return;
  for (const CompiledTensor& tensor : report.tensors) {
    fmt::print(stderr, "  {:<28} {:<7} {:>6} x {:<6} {:>10}  {:<18} error {:.4f} %", tensor.name,
               tensor.encoding, tensor.n_rows, tensor.n_cols, format_bytes(tensor.size_bytes),
               tensor.method, 100 * tensor.relative_mse);
    if (tensor.output_error)
      fmt::print(stderr, "  of the output {:.4f} %", 100 * *tensor.output_error);
    fmt::print(stderr, "\n");
  }
}

int run(CompileArguments& arguments) {
  catch_interrupt();
  ProgressBar bar;
  arguments.options.progress = bar.callback();
  Result<CompileReport> report = compile(arguments.options, arguments.out_path);
  if (!report.ok()) return fail(report.status());
  if (!arguments.json) {
    print_summary(arguments, *report);
    return 0;
  }
  const Status status = write_stdout(report_json(arguments, *report).dump(2) + "\n");
  return status.ok() ? 0 : fail(status);
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
  command
      ->add_option("--prefill-chunk", options.prefill_chunk,
                   "most tokens a call of prefill brings (0: 256; on an NPU 64)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{4096}));
  command->add_option("--tokenizer", options.tokenizer_path,
                      "tokenizer file, in place of the checkpoint's own");
  add_cache_types(*command, options.cache_type_k, options.cache_type_v);
  add_threads(*command, options.n_threads);
  command->add_flag("--json", arguments->json, "the report as JSON on stdout");
  command->add_flag("-v,--verbose", arguments->verbose, "one line a tensor");
  command->callback([arguments, &selected] { selected = [arguments] { return run(*arguments); }; });
}

}  // namespace cria::cli

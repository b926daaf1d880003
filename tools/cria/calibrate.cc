// `cria calibrate MODEL --text FILE -o STATS` and `cria calibrate --merge A B -o STATS`.
#include "cria/calibrate.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "model_arguments.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct CalibrateArguments {
  CalibrateOptions options;
  std::vector<std::string> text_paths;
  std::vector<std::string> parts;  // --merge
  std::string out_path;
  bool chat = false;
  bool no_hessian = false;
  bool json = false;
};

nlohmann::ordered_json report_json(const CalibrateReport& report, double seconds) {
  nlohmann::ordered_json json = {{"n_tokens", report.n_tokens},
                                 {"n_windows", report.n_windows},
                                 {"n_windows_resumed", report.n_windows_resumed},
                                 {"n_inputs", report.inputs.size()},
                                 {"has_hessian", report.has_hessian},
                                 {"file_bytes", report.file_bytes},
                                 {"seconds", seconds}};
  if (report.perplexity > 0) json["perplexity"] = report.perplexity;
  std::int64_t n_columns = 0;
  for (const CalibratedInput& input : report.inputs) {
    n_columns += input.n_cols;
    json["inputs"].push_back({{"name", input.name},
                              {"n_cols", input.n_cols},
                              {"mean_square", input.mean_square},
                              {"largest_mean_square", input.largest_mean_square},
                              {"largest_column", input.largest_column}});
  }
  json["n_columns"] = n_columns;
  return json;
}

std::string report_text(const CalibrateReport& report, double seconds) {
  std::string text = fmt::format("{:<18} {:>8} {:>14} {:>14} {:>8} {:>8}\n", "input", "columns",
                                 "mean square", "largest", "column", "ratio");
  for (const CalibratedInput& input : report.inputs) {
    text +=
        fmt::format("{:<18} {:>8} {:>14.6g} {:>14.6g} {:>8} {:>8.1f}\n", input.name, input.n_cols,
                    input.mean_square, input.largest_mean_square, input.largest_column,
                    input.mean_square > 0 ? input.largest_mean_square / input.mean_square : 0);
  }
  text += fmt::format("{} tokens in {} windows", report.n_tokens, report.n_windows);
  if (report.n_windows_resumed > 0)
    text += fmt::format(" ({} by an earlier run)", report.n_windows_resumed);
  if (report.perplexity > 0) text += fmt::format(", perplexity {:.4f}", report.perplexity);
  return text + fmt::format(", {} Hessians: {} in {}\n", report.has_hessian ? "with" : "without",
                            format_bytes(report.file_bytes), format_seconds(seconds));
}

// Fewer tokens than columns leave directions that the Hessian knows nothing about.
void warn_if_few(const CalibrateReport& report) {
  std::int64_t n_cols = 0;
  for (const CalibratedInput& input : report.inputs) n_cols = std::max(n_cols, input.n_cols);
  if (!report.has_hessian || report.n_tokens >= n_cols) return;
  fmt::print(stderr, "cria: warning: {} tokens for inputs of {} columns: Hessians are singular\n",
             report.n_tokens, n_cols);
}

Result<CalibrateReport> run(CalibrateArguments& arguments) {
  ProgressBar bar;
  if (!arguments.parts.empty()) {
    return merge_calibrations(arguments.parts, arguments.out_path, bar.callback());
  }
  for (const std::string& path : arguments.text_paths) {
    Result<std::string> content = read_text(path);
    if (!content.ok()) return content.status();
    arguments.options.texts.push_back(
        {path, std::move(*content), arguments.chat || path.ends_with(".jsonl")});
  }
  arguments.options.with_hessian = !arguments.no_hessian;
  arguments.options.progress = bar.callback();
  return calibrate(arguments.options, arguments.out_path);
}

int run_and_print(CalibrateArguments& arguments) {
  if (arguments.parts.empty() == arguments.options.model.empty() ||
      (arguments.parts.empty() && arguments.text_paths.empty())) {
    fmt::print(stderr, "cria: calibrate needs MODEL and --text, or --merge (see cria --help)\n");
    return 2;
  }
  catch_interrupt();
  const auto start = std::chrono::steady_clock::now();
  const Result<CalibrateReport> report = run(arguments);
  if (!report.ok()) return fail(report.status());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  warn_if_few(*report);
  const Status written =
      write_stdout(arguments.json ? report_json(*report, elapsed.count()).dump(2) + "\n"
                                  : report_text(*report, elapsed.count()));
  return written.ok() ? 0 : fail(written);
}

}  // namespace

void add_calibrate(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<CalibrateArguments>();
  CalibrateOptions& options = arguments->options;
  CLI::App* command =
      app.add_subcommand("calibrate", "measure what a model's linears read, for quantizing");
  command->add_option("MODEL", options.model,
                      "a GGUF file, a Hugging Face folder, a llama2.c .bin, or a cached id");
  command->add_option("--text", arguments->text_paths,
                      "a text (-: standard input); several: one after the other. Lines of JSON "
                      "with messages (.jsonl) are put into the chat template");
  command->add_flag("--chat", arguments->chat, "texts are lines of JSON, whatever their names");
  command->add_option("-o,--output", arguments->out_path, "the file of statistics")->required();
  command->add_option("--merge", arguments->parts, "add up these statistics of different windows")
      ->excludes("--text");
  command->add_option("-c,--ctx,--ctx-size", options.n_ctx, "tokens a window")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20));
  command->add_option("--chunks", options.max_windows, "windows to run (0: all)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 36));
  command->add_option("--from-chunk,--chunk", options.first_window, "windows to skip")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 36));
  command->add_flag("--no-hessian", arguments->no_hessian, "importance of columns alone");
  command->add_option("--tokenizer", options.tokenizer_path,
                      "tokenizer file, in place of the model's own");
  add_threads(*command, options.n_threads);
  command->add_option("--cache-dir", options.cache_dir, "where compiled models are kept");
  command->add_flag("--json", arguments->json, "as JSON");
  command->callback(
      [arguments, &selected] { selected = [arguments] { return run_and_print(*arguments); }; });
}

}  // namespace cria::cli

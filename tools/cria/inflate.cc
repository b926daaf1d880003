// `cria inflate SRC --to SHAPE -o FOLDER`.
#include "cria/inflate.h"

#include <fmt/format.h>

#include <chrono>

#include "commands.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct InflateArguments {
  InflateOptions options;
  std::string out_folder;
};

int run(InflateArguments& arguments) {
  catch_interrupt();
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar;
  arguments.options.progress = bar.callback();
  const Result<InflateReport> report = inflate(arguments.options, arguments.out_folder);
  if (!report.ok()) return fail(report.status());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  fmt::print(stderr, "{} -> {}: {} parameters, {} in {}\n", arguments.options.source,
             arguments.out_folder, report->n_parameters, format_bytes(report->file_bytes),
             format_seconds(elapsed.count()));
  return 0;
}

}  // namespace

void add_inflate(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<InflateArguments>();
  CLI::App* command =
      app.add_subcommand("inflate", "widen a small model to the shape of a large one");
  command->add_option("SRC", arguments->options.source, "a Hugging Face folder, or a cached id")
      ->required();
  command->add_option("--to", arguments->options.shape, "1b or 3b; small is for tests")
      ->required()
      ->check(CLI::IsMember(inflate_shapes()));
  command->add_option("-o,--output", arguments->out_folder, "the Hugging Face folder to write")
      ->required();
  command->callback([arguments, &selected] { selected = [arguments] { return run(*arguments); }; });
}

}  // namespace cria::cli

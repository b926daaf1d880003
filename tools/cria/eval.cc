// `cria eval MODEL --text FILE`: perplexity, and distance from a reference model.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "cria/evaluate.h"
#include "model_arguments.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct EvalArguments {
  ModelArguments model;
  std::string text_path;
  std::string reference;
  EvaluateOptions options;
  bool json = false;
};

nlohmann::ordered_json report_json(const EvaluateReport& report) {
  nlohmann::ordered_json json = {{"n_windows", report.n_windows},
                                 {"n_scored", report.n_scored},
                                 {"perplexity", report.perplexity},
                                 {"perplexity_error", report.perplexity_error}};
  if (report.has_reference) {
    json["reference_perplexity"] = report.reference_perplexity;
    json["kl_mean"] = report.kl_mean;
    json["kl_error"] = report.kl_error;
    json["kl_p999"] = report.kl_p999;
    json["kl_max"] = report.kl_max;
    json["top1_agreement"] = report.top1_agreement;
  }
  return json;
}

std::string report_text(const EvaluateReport& report) {
  std::string text =
      fmt::format("perplexity   {:.4f} +- {:.4f}   ({} tokens scored in {} windows)\n",
                  report.perplexity, report.perplexity_error, report.n_scored, report.n_windows);
  if (!report.has_reference) return text;
  text += fmt::format("reference    {:.4f}   ({:+.3f} %)\n", report.reference_perplexity,
                      100 * (report.perplexity / report.reference_perplexity - 1));
  text += fmt::format("KL           mean {:.6f} +- {:.6f}   99.9 % {:.6f}   max {:.6f}\n",
                      report.kl_mean, report.kl_error, report.kl_p999, report.kl_max);
  text += fmt::format("same top 1   {:.3f} %\n", 100 * report.top1_agreement);
  return text;
}

Status evaluate_and_print(EvalArguments& arguments) {
  Result<std::string> text = read_text(arguments.text_path);
  if (!text.ok()) return text.status();
  Result<Engine> model = open_engine(arguments.model);
  if (!model.ok()) return model.status();
  std::optional<Engine> reference;
  if (!arguments.reference.empty()) {
    // The reference is what the other is measured against, so it runs as exactly as it can.
    ModelArguments reference_arguments = arguments.model;
    reference_arguments.model = arguments.reference;
    reference_arguments.quant = "source";
    reference_arguments.activations = "a16";
    Result<Engine> opened = open_engine(reference_arguments);
    if (!opened.ok()) return opened.status();
    reference = *opened;
  }
  ProgressBar bar;
  arguments.options.progress = bar.callback();
  Result<EvaluateReport> report =
      evaluate(*model, reference ? &*reference : nullptr, *text, arguments.options);
  if (!report.ok()) return report.status();
  return write_stdout(arguments.json ? report_json(*report).dump(2) + "\n" : report_text(*report));
}

}  // namespace

void add_eval(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand("eval", "measure a model's quality on a text");
  add_model_arguments(*command, arguments->model);
  command->add_option("--text", arguments->text_path, "the text (-: standard input)")->required();
  command->add_option("--reference", arguments->reference,
                      "a model to compare with (KL divergence, agreement)");
  command->add_option("-c,--ctx,--ctx-size", arguments->options.n_ctx, "tokens a window")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 24));
  command->add_option("--chunks", arguments->options.max_windows, "windows to score (0: all)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40));
  command->add_flag("--json", arguments->json, "as JSON");
  command->callback([arguments, &selected] {
    selected = [arguments] {
      catch_interrupt();
      const Status status = evaluate_and_print(*arguments);
      return status.ok() ? 0 : fail(status);
    };
  });
}

}  // namespace cria::cli

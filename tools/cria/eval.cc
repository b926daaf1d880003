// `cria eval MODEL`: on a text, perplexity and distance from a reference model; on task sets, how
// many answers are right.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "cria/evaluate.h"
#include "evaluation_report.h"
#include "model_arguments.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct EvalArguments {
  ModelArguments model;
  std::string text_path;
  std::vector<std::string> task_paths;
  TaskOptions task_options;
  std::string reference;
  EvaluateOptions options;
  bool json = false;
};

nlohmann::ordered_json task_json(const std::string& path, const TaskReport& report) {
  return {{"task", path},
          {"n_examples", report.n_examples},
          {"exact", report.exact()},
          {"exact_low", report.exact_low},
          {"exact_high", report.exact_high},
          {"lines", report.lines()}};
}

std::string task_text(const std::string& path, const TaskReport& report) {
  return fmt::format(
      "{}: {} of {} answers right to the letter, {:.1f} % (95 %: {:.1f} to {:.1f}); lines {:.1f} "
      "%\n",
      path, report.n_exact, report.n_examples, 100 * report.exact(), 100 * report.exact_low,
      100 * report.exact_high, 100 * report.lines());
}

// What was found, for people and for programs.
struct Answer {
  std::string text;
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
};

Status score_tasks(const EvalArguments& arguments, const Engine& model, TaskOptions options,
                   Answer& answer) {
  for (const std::string& path : arguments.task_paths) {
    Result<std::string> examples = read_text(path);
    if (!examples.ok()) return examples.status();
    Result<TaskReport> report = evaluate_task(model, *examples, path, options);
    if (!report.ok()) return report.status();
    answer.text += task_text(path, *report);
    answer.json["tasks"].push_back(task_json(path, *report));
  }
  return {};
}

Status score_text(EvalArguments& arguments, const Engine& model, Answer& answer) {
  Result<std::string> text = read_text(arguments.text_path);
  if (!text.ok()) return text.status();
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
  Result<EvaluateReport> report =
      evaluate(model, reference ? &*reference : nullptr, *text, arguments.options);
  if (!report.ok()) return report.status();
  answer.json = evaluation_json(*report);
  answer.text = evaluation_text(*report);
  return {};
}

Status evaluate_and_print(EvalArguments& arguments) {
  Result<Engine> model = open_engine(arguments.model);
  if (!model.ok()) return model.status();
  ProgressBar bar;
  arguments.options.progress = bar.callback();
  arguments.task_options.progress = bar.callback();
  Answer answer;
  if (!arguments.text_path.empty()) {
    CRIA_CLI_RETURN_IF_ERROR(score_text(arguments, *model, answer));
  }
  CRIA_CLI_RETURN_IF_ERROR(score_tasks(arguments, *model, arguments.task_options, answer));
  return write_stdout(arguments.json ? answer.json.dump(2) + "\n" : answer.text);
}

}  // namespace

void add_eval(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command =
      app.add_subcommand("eval", "measure a model's quality on a text, or on tasks");
  add_model_arguments(*command, arguments->model);
  add_device(*command, arguments->model);
  CLI::Option* text =
      command->add_option("--text", arguments->text_path, "the text (-: standard input)");
  command->add_option("--task", arguments->task_paths,
                      "JSON lines with prompt and expected answer; may be given several times");
  command->add_option("--limit", arguments->task_options.max_examples, "examples a task (0: all)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40));
  command
      ->add_option("--reference", arguments->reference,
                   "a model to compare with (KL divergence, agreement)")
      ->needs(text);
  command->add_option("-c,--ctx,--ctx-size", arguments->options.n_ctx, "tokens a window")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 24));
  command->add_option("--chunks", arguments->options.max_windows, "windows to score (0: all)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40));
  command->add_flag("--json", arguments->json, "as JSON");
  command->callback([arguments, &selected] {
    if (arguments->text_path.empty() && arguments->task_paths.empty()) {
      throw CLI::RequiredError("--text or --task");
    }
    selected = [arguments] {
      catch_interrupt();
      const Status status = evaluate_and_print(*arguments);
      return status.ok() ? 0 : fail(status);
    };
  });
}

}  // namespace cria::cli

// Scoring a task: greedy answers against the expected ones.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/json/json.h"
#include "base/result.h"
#include "cria/evaluate.h"
#include "cria/session.h"

namespace cria {
namespace {

struct Example {
  std::vector<std::int32_t> prompt_ids;
  std::string expected;
};

std::string_view without_blanks_around(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

Result<Example> parse_example(std::string_view line, const std::string& what,
                              const TextTokenizer& tokenizer) {
  CRIA_ASSIGN_OR_RETURN(const nlohmann::json object, parse_strict_json(line, what));
  for (const char* member : {"prompt", "expected"}) {
    if (json_member(object, member) == nullptr) {
      return bad_input("{}: has no '{}', expected an object with 'prompt' and 'expected'", what,
                       member);
    }
  }
  CRIA_ASSIGN_OR_RETURN(const std::string prompt, json_text(object, "prompt", "", what));
  Example example;
  CRIA_ASSIGN_OR_RETURN(example.expected, json_text(object, "expected", "", what));
  CRIA_ASSIGN_OR_RETURN(example.prompt_ids, tokenizer.encode(prompt));
  if (example.prompt_ids.empty()) return bad_input("{}: the prompt is empty", what);
  return example;
}

Result<std::vector<Example>> parse_examples(std::string_view text, std::string_view what,
                                            const Engine& model, const TaskOptions& options) {
  CRIA_ASSIGN_OR_RETURN(const TextTokenizer tokenizer, model.tokenizer());
  std::vector<Example> examples;
  std::int64_t line_number = 0;
  for (std::string_view line : lines_of(text)) {
    ++line_number;
    if (without_blanks_around(line).empty()) continue;
    if (options.max_examples > 0 &&
        static_cast<std::int64_t>(examples.size()) == options.max_examples) {
      break;
    }
    const std::string where = fmt::format("{}, line {}", what, line_number);
    CRIA_ASSIGN_OR_RETURN(Example example, parse_example(line, where, tokenizer));
    const auto n_prompt = static_cast<std::int64_t>(example.prompt_ids.size());
    if (n_prompt >= model.info().max_context) {
      return bad_input("{}: the prompt has {} tokens, the model's context {}", where, n_prompt,
                       model.info().max_context);
    }
    examples.push_back(std::move(example));
  }
  if (examples.empty()) return bad_input("{}: no examples in it", what);
  return examples;
}

// Positions that the longest example needs, as far as the model has them.
std::int64_t context_for(const std::vector<Example>& examples, const Engine& model,
                         const TaskOptions& options) {
  std::size_t longest = 0;
  for (const Example& example : examples) longest = std::max(longest, example.prompt_ids.size());
  return std::min(static_cast<std::int64_t>(longest) + options.max_tokens,
                  model.info().max_context);
}

void count(std::string_view answer, std::string_view expected, TaskReport& report) {
  answer = without_blanks_around(answer);
  expected = without_blanks_around(expected);
  ++report.n_examples;
  report.n_exact += answer == expected ? 1 : 0;
  const std::vector<std::string_view> given = lines_of(answer);
  for (std::string_view line : lines_of(expected)) {
    ++report.n_lines;
    report.n_right_lines += std::find(given.begin(), given.end(), line) != given.end() ? 1 : 0;
  }
}

void add_interval(TaskReport& report) {
  constexpr double kZ = 1.96;  // of a normal distribution, 95 % lie within
  const auto n = static_cast<double>(report.n_examples);
  const double share = report.exact();
  const double scale = 1 + kZ * kZ / n;
  const double center = (share + kZ * kZ / (2 * n)) / scale;
  const double half = kZ * std::sqrt(share * (1 - share) / n + kZ * kZ / (4 * n * n)) / scale;
  report.exact_low = std::max(0.0, center - half);
  report.exact_high = std::min(1.0, center + half);
}

}  // namespace

Result<TaskReport> evaluate_task(const Engine& model, std::string_view examples_text,
                                 std::string_view what, const TaskOptions& options) {
  if (options.max_tokens < 1) {
    return invalid_argument("evaluate: answers of {} tokens, at least 1 is needed",
                            options.max_tokens);
  }
  CRIA_ASSIGN_OR_RETURN(const std::vector<Example> examples,
                        parse_examples(examples_text, what, model, options));
  CRIA_ASSIGN_OR_RETURN(GenerationSession session,
                        GenerationSession::create(model, context_for(examples, model, options)));
  GenerateOptions greedy;
  greedy.temperature = 0;
  greedy.max_tokens = options.max_tokens;
  TaskReport report;
  for (const Example& example : examples) {
    if (options.progress && !options.progress("answer", report.n_examples,
                                              static_cast<std::uint64_t>(examples.size()))) {
      return cancelled("evaluation was cancelled");
    }
    session.reset();
    CRIA_ASSIGN_OR_RETURN(const GenerateResult result,
                          session.generate(example.prompt_ids, greedy));
    count(result.text, example.expected, report);
  }
  add_interval(report);
  return report;
}

}  // namespace cria

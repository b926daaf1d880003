// How good is a model: perplexity, and how far it is from another.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cria/engine.h"
#include "cria/progress.h"
#include "cria/status.h"

namespace cria {

struct EvaluateOptions {
  // Tokens a window. Windows do not overlap; each starts with the begin token in place of its first
  // token, and its second half is scored (llama.cpp's protocol, "ppl@512").
  std::int64_t n_ctx = 512;
  std::int64_t max_windows = 0;  // 0: all of the text
  Progress progress;
};

struct EvaluateReport {
  std::int64_t n_windows = 0;
  std::int64_t n_scored = 0;  // tokens
  double perplexity = 0;
  double perplexity_error = 0;  // standard error
  // Against the reference model (valid if has_reference).
  bool has_reference = false;
  double reference_perplexity = 0;
  double kl_mean = 0;   // KL(reference || model), nats
  double kl_error = 0;  // standard error of the mean
  double kl_p999 = 0;   // 99.9 % quantile
  double kl_max = 0;
  double top1_agreement = 0;  // share of positions with the same most likely token
};

// `reference` may be null; it must share the vocabulary. kBadInput: the text is shorter than one
// window.
Result<EvaluateReport> evaluate(const Engine& model, const Engine* reference, std::string_view text,
                                const EvaluateOptions& options);

struct TaskOptions {
  std::int64_t max_examples = 0;  // 0: all
  std::int64_t max_tokens = 200;  // an answer has at most
  Progress progress;
};

struct TaskReport {
  std::int64_t n_examples = 0;
  std::int64_t n_exact = 0;        // answers right to the letter, blanks around them aside
  std::int64_t n_lines = 0;        // of all expected answers
  std::int64_t n_right_lines = 0;  // of them, those that the answer has as well
  // The 95 % interval of the share of exact answers (Wilson's).
  double exact_low = 0;
  double exact_high = 0;

  double exact() const { return share(n_exact, n_examples); }
  double lines() const { return share(n_right_lines, n_lines); }

 private:
  static double share(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  }
};

// Answers every example of a task, greedily, and counts what is right. `examples`: JSON lines, each
// an object with `prompt` (text as the model sees it, special tokens spelled out) and `expected`;
// other members are ignored. `what` names the source in errors. kBadInput: a line that is no such
// object, no examples, or a prompt longer than the model's context, naming the line.
Result<TaskReport> evaluate_task(const Engine& model, std::string_view examples,
                                 std::string_view what, const TaskOptions& options);

// KL(reference || model) in nats of two rows of logits of one size.
double kl_divergence(const float* reference, const float* model, std::int64_t n);

}  // namespace cria

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

// KL(reference || model) in nats of two rows of logits of one size.
double kl_divergence(const float* reference, const float* model, std::int64_t n);

}  // namespace cria

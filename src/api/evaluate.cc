#include "cria/evaluate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "api/divergence.h"
#include "base/result.h"

namespace cria {
namespace {

// Mean and its standard error.
struct Mean {
  double value = 0;
  double error = 0;
};

Mean mean_of(const std::vector<double>& samples) {
  Mean mean;
  const auto n = static_cast<double>(samples.size());
  for (double sample : samples) mean.value += sample / n;
  if (samples.size() < 2) return mean;
  double variance = 0;
  for (double sample : samples) variance += (sample - mean.value) * (sample - mean.value) / (n - 1);
  mean.error = std::sqrt(variance / n);
  return mean;
}

// What the scored positions gave, one entry a token.
struct Scores {
  std::vector<double> negative_log_likelihood;
  std::vector<double> reference_negative_log_likelihood;
  std::vector<double> kl;
  std::int64_t n_same_top1 = 0;
};

// One model and the cache that its windows share.
class Scorer {
 public:
  static Result<Scorer> create(const Engine& engine, std::int64_t n_ctx) {
    CRIA_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, engine.kv_cache_bytes(n_ctx));
    CRIA_ASSIGN_OR_RETURN(KvCacheBuffer cache, KvCacheBuffer::allocate(size_bytes));
    return Scorer(engine, std::move(cache));
  }

  // Runs ids that need no logits, then those that do; the result is valid until the next call.
  Result<const float*> run(std::span<const std::int32_t> head,
                           std::span<const std::int32_t> scored) {
    const std::int64_t n_vocab = engine_->info().n_vocab;
    logits_.resize(scored.size() * n_vocab);
    cache_.reset();
    if (!head.empty()) {
      CRIA_RETURN_IF_ERROR(engine_->forward(head, cache_, std::span(logits_).first(n_vocab)));
    }
    CRIA_RETURN_IF_ERROR(engine_->forward_all(scored, cache_, logits_));
    return logits_.data();
  }

 private:
  Scorer(const Engine& engine, KvCacheBuffer cache) : engine_(&engine), cache_(std::move(cache)) {}
  const Engine* engine_;
  KvCacheBuffer cache_;
  std::vector<float> logits_;
};

std::int64_t top1(const float* row, std::int64_t n) { return std::max_element(row, row + n) - row; }

void score_row(const float* model, const float* reference, std::int64_t n_vocab,
               std::int32_t target, Scores& scores) {
  scores.negative_log_likelihood.push_back(log_sum_exp(model, n_vocab) - model[target]);
  if (reference == nullptr) return;
  scores.reference_negative_log_likelihood.push_back(log_sum_exp(reference, n_vocab) -
                                                     reference[target]);
  scores.kl.push_back(kl_divergence(reference, model, n_vocab));
  scores.n_same_top1 += top1(model, n_vocab) == top1(reference, n_vocab) ? 1 : 0;
}

EvaluateReport summarize(Scores scores, bool has_reference) {
  EvaluateReport report;
  report.n_scored = static_cast<std::int64_t>(scores.negative_log_likelihood.size());
  const Mean loss = mean_of(scores.negative_log_likelihood);
  report.perplexity = std::exp(loss.value);
  report.perplexity_error = report.perplexity * loss.error;
  report.has_reference = has_reference;
  if (!has_reference) return report;
  report.reference_perplexity = std::exp(mean_of(scores.reference_negative_log_likelihood).value);
  const Mean kl = mean_of(scores.kl);
  report.kl_mean = kl.value;
  report.kl_error = kl.error;
  std::sort(scores.kl.begin(), scores.kl.end());
  report.kl_max = scores.kl.back();
  report.kl_p999 =
      scores.kl[static_cast<std::size_t>(0.999 * static_cast<double>(scores.kl.size() - 1))];
  report.top1_agreement =
      static_cast<double>(scores.n_same_top1) / static_cast<double>(report.n_scored);
  return report;
}

// The ids of window `w`: n_ctx tokens whose first is replaced by the begin token, if there is one.
std::vector<std::int32_t> window_ids(const std::vector<std::int32_t>& ids, std::int64_t w,
                                     std::int64_t n_ctx, std::int32_t bos_id) {
  std::vector<std::int32_t> window(ids.begin() + w * n_ctx, ids.begin() + (w + 1) * n_ctx);
  if (bos_id >= 0) window[0] = bos_id;
  return window;
}

}  // namespace

Result<EvaluateReport> evaluate(const Engine& model, const Engine* reference, std::string_view text,
                                const EvaluateOptions& options) {
  const std::int64_t n_ctx = options.n_ctx;
  const std::int64_t n_vocab = model.info().n_vocab;
  if (n_ctx < 2)
    return invalid_argument("evaluate: a window of {} tokens, at least 2 are needed", n_ctx);
  if (reference != nullptr && reference->info().n_vocab != n_vocab) {
    return invalid_argument("evaluate: the reference has {} tokens in its vocabulary, the model {}",
                            reference->info().n_vocab, n_vocab);
  }
  CRIA_ASSIGN_OR_RETURN(TextTokenizer tokenizer, model.tokenizer());
  CRIA_ASSIGN_OR_RETURN(std::vector<std::int32_t> ids, tokenizer.encode(text));
  std::int64_t n_windows = static_cast<std::int64_t>(ids.size()) / n_ctx;
  if (n_windows == 0) {
    return bad_input("the text has {} tokens, one window needs {} (a smaller --ctx helps)",
                     ids.size(), n_ctx);
  }
  if (options.max_windows > 0) n_windows = std::min(n_windows, options.max_windows);
  CRIA_ASSIGN_OR_RETURN(Scorer scorer, Scorer::create(model, n_ctx));
  std::optional<Scorer> reference_scorer;
  if (reference != nullptr) {
    CRIA_ASSIGN_OR_RETURN(Scorer created, Scorer::create(*reference, n_ctx));
    reference_scorer.emplace(std::move(created));
  }

  // Position i predicts token i + 1: the second half of a window is scored from the logits of one
  // before it.
  const std::int64_t first = std::max<std::int64_t>(n_ctx / 2 - 1, 0);
  Scores scores;
  for (std::int64_t w = 0; w < n_windows; ++w) {
    if (options.progress && !options.progress("evaluate", w, n_windows))
      return cancelled("evaluation was cancelled");
    const std::vector<std::int32_t> window = window_ids(ids, w, n_ctx, tokenizer.bos_id());
    const auto head = std::span(window).first(first);
    const auto scored = std::span(window).subspan(first, n_ctx - 1 - first);
    CRIA_ASSIGN_OR_RETURN(const float* logits, scorer.run(head, scored));
    const float* reference_logits = nullptr;
    if (reference_scorer) {
      CRIA_ASSIGN_OR_RETURN(reference_logits, reference_scorer->run(head, scored));
    }
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(scored.size()); ++i) {
      const float* reference_row =
          reference_logits == nullptr ? nullptr : reference_logits + i * n_vocab;
      score_row(logits + i * n_vocab, reference_row, n_vocab, window[first + i + 1], scores);
    }
  }
  if (options.progress) options.progress("evaluate", n_windows, n_windows);
  EvaluateReport report = summarize(std::move(scores), reference != nullptr);
  report.n_windows = n_windows;
  return report;
}

}  // namespace cria

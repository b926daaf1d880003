// Which token comes next.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/result.h"

namespace cria {

// The steps run in this order, as in llama.cpp: repetition penalty, top-k, top-p, min-p,
// temperature.
struct SamplingOptions {
  float temperature = 0.8f;     // <= 0: greedy, the best token (of equals the lowest id)
  int top_k = 40;               // only the k best; 0: all
  float top_p = 0.95f;          // only the best ones that together reach this probability; 1: all
  float min_p = 0.05f;          // only those with this share of the best one's probability; 0: all
  float repeat_penalty = 1.0f;  // recent tokens: positive logits / it, others * it; 1: off
  int repeat_last_n = 64;       // how many tokens are recent; 0: none, -1: all since reset()
  std::uint64_t seed = 0;
};

// kInvalidArgument names the option that is out of range, and the range.
Status validate(const SamplingOptions& options);

// Draws tokens from logits. The same seed and logits give the same tokens on every machine (as far
// as std::exp agrees to the last bits of a double).
// Thread-safety: one thread at a time.
class Sampler {
 public:
  // REQUIRES: validate(options).ok().
  explicit Sampler(const SamplingOptions& options) : options_(options), state_(options.seed) {}

  // The id of the next token; does not accept() it. `logits`: one per token; -inf excludes a token.
  // kBadInput when one is NaN or +inf, or all are -inf. Uses one random number, none when greedy.
  Result<std::int32_t> next(std::span<const float> logits);

  // Tells the sampler that `id` became part of the text (of the prompt, too), for the penalty.
  void accept(std::int32_t id);

  // As constructed: the seed again, no recent tokens.
  void reset();

 private:
  struct Candidate {
    float logit;
    std::int32_t id;
  };
  static bool is_better(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }

  std::span<const float> penalized(std::span<const float> logits);
  void select_top_k(std::span<const float> logits);
  void cut_top_p_and_min_p();
  std::int32_t draw();
  double next_uniform();

  SamplingOptions options_;
  std::uint64_t state_;  // of the random numbers
  std::deque<std::int32_t> recent_;
  std::vector<float> penalized_;       // scratch
  std::vector<Candidate> candidates_;  // scratch
};

}  // namespace cria

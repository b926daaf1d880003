#include "llm/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace cria {

namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// NaN and +inf leave no probabilities to draw from.
Status check_logits(std::span<const float> logits) {
  if (logits.empty() || logits.size() > std::numeric_limits<std::int32_t>::max()) {
    return invalid_argument("sampling from {} logits", logits.size());
  }
  bool all_below_infinity = true;
  for (const float logit : logits) {
    all_below_infinity &= logit <= std::numeric_limits<float>::max();
  }
  if (all_below_infinity) return {};
  const auto bad = std::find_if(logits.begin(), logits.end(), [](float logit) {
    return !(logit <= std::numeric_limits<float>::max());
  });
  return bad_input("the logit of token {} is {}: the model's weights are broken",
                   bad - logits.begin(), *bad);
}

std::int32_t best_of(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Status check_range(const char* name, float value, float low, float high) {
  if (value >= low && value <= high) return {};
  return invalid_argument("{} is {}, expected {} to {}", name, value, low, high);
}

}  // namespace

Status validate(const SamplingOptions& options) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  CRIA_RETURN_IF_ERROR(check_range("temperature", options.temperature, -kLargest, kLargest));
  CRIA_RETURN_IF_ERROR(check_range("top_p", options.top_p, 0, 1));
  CRIA_RETURN_IF_ERROR(check_range("min_p", options.min_p, 0, 1));
  // Beyond these a penalized logit could overflow to infinity.
  CRIA_RETURN_IF_ERROR(check_range("repeat_penalty", options.repeat_penalty, 0.01f, 100));
  if (options.top_k < 0) return invalid_argument("top_k is {}, expected 0 or more", options.top_k);
  if (options.repeat_last_n < -1) {
    return invalid_argument("repeat_last_n is {}, expected -1 or more", options.repeat_last_n);
  }
  return {};
}

Result<std::int32_t> Sampler::next(std::span<const float> logits) {
  CRIA_RETURN_IF_ERROR(check_logits(logits));
  logits = penalized(logits);
  const std::int32_t best = best_of(logits);
  if (logits[static_cast<std::size_t>(best)] == kLowest) {
    return bad_input("all {} logits are -inf, no token is possible", logits.size());
  }
  if (options_.temperature <= 0) return best;
  select_top_k(logits);
  cut_top_p_and_min_p();
  return draw();
}

void Sampler::accept(std::int32_t id) {
  if (options_.repeat_penalty == 1 || options_.repeat_last_n == 0) return;
  recent_.push_back(id);
  if (options_.repeat_last_n > 0 &&
      recent_.size() > static_cast<std::size_t>(options_.repeat_last_n)) {
    recent_.pop_front();
  }
}

void Sampler::reset() {
  state_ = options_.seed;
  recent_.clear();
}

std::span<const float> Sampler::penalized(std::span<const float> logits) {
  if (recent_.empty()) return logits;
  std::vector<std::int32_t> ids(recent_.begin(), recent_.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  penalized_.assign(logits.begin(), logits.end());
  for (const std::int32_t id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= penalized_.size()) continue;
    float& logit = penalized_[static_cast<std::size_t>(id)];
    // Clamped: a finite logit must stay finite.
    logit = std::min(logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty,
                     std::numeric_limits<float>::max());
  }
  return penalized_;
}

// Fills candidates_ with the k best, by id. One pass with a heap of k: most logits are below
// its worst and cost one comparison.
void Sampler::select_top_k(std::span<const float> logits) {
  const bool all = options_.top_k == 0 || static_cast<std::size_t>(options_.top_k) >= logits.size();
  const std::size_t k = all ? logits.size() : static_cast<std::size_t>(options_.top_k);
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == kLowest) continue;
    const Candidate candidate = {logits[i], static_cast<std::int32_t>(i)};
    if (all || candidates_.size() < k) {
      candidates_.push_back(candidate);
      if (!all) std::push_heap(candidates_.begin(), candidates_.end(), is_better);
    } else if (is_better(candidate, candidates_.front())) {
      std::pop_heap(candidates_.begin(), candidates_.end(), is_better);
      candidates_.back() = candidate;
      std::push_heap(candidates_.begin(), candidates_.end(), is_better);
    }
  }
  if (all) return;
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
}

// Leaves the candidates that pass both, best first. Each of the two keeps a prefix of the sorted
// candidates, so min-p may go first and spare the sorting of those far below, although top-p counts
// them in its total.
void Sampler::cut_top_p_and_min_p() {
  const float best = std::min_element(candidates_.begin(), candidates_.end(), is_better)->logit;
  const auto weight = [&](const Candidate& c) {
    return std::exp(static_cast<double>(c.logit) - static_cast<double>(best));
  };
  const bool uses_top_p = options_.top_p < 1;
  double total = 0;
  if (uses_top_p) {
    for (const Candidate& candidate : candidates_) total += weight(candidate);
  }
  if (options_.min_p > 0) {
    std::erase_if(candidates_, [&](const Candidate& c) { return weight(c) < options_.min_p; });
  }
  std::sort(candidates_.begin(), candidates_.end(), is_better);
  if (!uses_top_p) return;
  double reached = 0;
  std::size_t n_kept = 0;
  while (n_kept < candidates_.size()) {
    reached += weight(candidates_[n_kept++]);
    if (reached >= options_.top_p * total) break;
  }
  candidates_.resize(n_kept);
}

std::int32_t Sampler::draw() {
  const double best = candidates_.front().logit;
  const auto weight = [&](const Candidate& c) {
    return std::exp((static_cast<double>(c.logit) - best) / options_.temperature);
  };
  double total = 0;
  for (const Candidate& candidate : candidates_) total += weight(candidate);
  double left = next_uniform() * total;
  for (const Candidate& candidate : candidates_) {
    left -= weight(candidate);
    if (left < 0) return candidate.id;
  }
  return candidates_.back().id;  // rounding left a crumb
}

// In [0, 1), 53 bits of SplitMix64 (Steele, Lea and Flood 2014): std:: distributions differ from
// one library to the next.
double Sampler::next_uniform() {
  state_ += 0x9e3779b97f4a7c15u;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

}  // namespace cria

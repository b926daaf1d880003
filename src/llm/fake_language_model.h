// A language model whose next token is a function of the tokens so far, for tests of the loop.
#pragma once

#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "llm/language_model.h"

namespace cria {

// Keeps nothing but what it writes into the cache: one int32 a position, so that a cache that was
// not rewound or reset rightly shows in what comes next.
class FakeLanguageModel : public LanguageModel {
 public:
  using Next = std::function<std::int32_t(const std::vector<std::int32_t>& history)>;

  FakeLanguageModel(std::int64_t n_vocab, Next next) : next_(std::move(next)) {
    info_.n_vocab = n_vocab;
    info_.max_context = 64;
    info_.prefill_chunk = 4;
    info_.verify_chunk = 3;
    info_.kv_bytes_per_position = sizeof(std::int32_t);
  }

  const LanguageModelInfo& info() const override { return info_; }
  LanguageModelInfo& mutable_info() { return info_; }

  std::vector<std::size_t> step_sizes;  // ids of each step so far
  int fail_at_step = -1;                // this one fails
  std::function<void()> on_step = [] {};

 protected:
  Status step(std::span<const std::int32_t> ids, KvCache& cache, LogitRows rows,
              std::span<float> logits) override {
    if (static_cast<int>(step_sizes.size()) == fail_at_step) return internal_error("failed step");
    step_sizes.push_back(ids.size());
    on_step();
    std::byte* memory = cache.bytes().data();
    const auto position = static_cast<std::size_t>(cache.position());
    std::vector<std::int32_t> history(position);
    std::memcpy(history.data(), memory, position * sizeof(std::int32_t));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      history.push_back(ids[i]);
      std::memcpy(memory + (position + i) * sizeof(std::int32_t), &ids[i], sizeof(std::int32_t));
      const bool wanted = rows == LogitRows::kAll || i + 1 == ids.size();
      if (!wanted) continue;
      const auto n_vocab = static_cast<std::size_t>(info_.n_vocab);
      const auto row = logits.subspan(rows == LogitRows::kAll ? i * n_vocab : 0, n_vocab);
      for (float& logit : row) logit = 0;
      row[static_cast<std::size_t>(next_(history))] = 1;
    }
    return {};
  }

 private:
  LanguageModelInfo info_;
  Next next_;
};

}  // namespace cria

// The generation loop: prompt in, text out, token by token.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "base/result.h"
#include "cria/session.h"
#include "llm/kv_cache.h"
#include "llm/language_model.h"

namespace cria {

class Tokenizer;

// Seconds since some fixed moment. Injected, so that tests decide what time it is.
using SecondsClock = std::function<double()>;
double steady_seconds();

// One sequence. Successive calls continue it: the token that ended the last answer and was never
// run through the model is put before the next prompt.
// Owns nothing: model, tokenizer and cache must outlive it. Thread-safety: one call at a time.
class Session {
 public:
  Session(LanguageModel& model, const Tokenizer& tokenizer, KvCache& cache,
          SecondsClock clock = steady_seconds)
      : model_(model), tokenizer_(tokenizer), cache_(cache), clock_(std::move(clock)) {}

  // Runs the prompt, then samples until: an end token of the tokenizer (kEndToken), a stop string,
  // max_tokens, no position left for the next token (kContextFull), or on_text gave false
  // (kCancelled). The text has neither the stop string nor any beginning of it, nor end tokens.
  // Errors before any work: an empty prompt (kInvalidArgument), a prompt longer than what is left
  // of the context (kOutOfResources), options out of range. After an error the sequence is as
  // before.
  Result<GenerateResult> generate(std::span<const std::int32_t> prompt_ids,
                                  const GenerateOptions& options, const OnText& on_text = {});

  std::int64_t position() const { return cache_.position(); }
  void reset();
  // Forgets the positions from `position` on, and the token that was not run. As KvCache::rewind.
  Status rewind(std::int64_t position);

 private:
  struct Run;  // the state of one generate()
  Status check(std::span<const std::int32_t> ids, const GenerateOptions& options);
  Status run_prompt(std::span<const std::int32_t> ids, Run& run);
  Status decode_loop(Run& run);

  LanguageModel& model_;
  const Tokenizer& tokenizer_;
  KvCache& cache_;
  SecondsClock clock_;
  std::optional<std::int32_t> unread_id_;  // generated, not yet in the cache
};

}  // namespace cria

// Text in, text out: the generation loop over an engine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cria/engine.h"
#include "cria/status.h"

namespace cria {

struct GenerateOptions {
  std::int64_t max_tokens = -1;  // -1: until an end token or a full context
  float temperature = 0.8f;      // <= 0: greedy
  int top_k = 40;                // 0: off
  float top_p = 0.95f;           // 1: off
  float min_p = 0.05f;           // 0: off
  float repeat_penalty = 1.0f;   // 1: off
  int repeat_last_n = 64;        // tokens that the penalty looks back on
  std::uint64_t seed = 0;
  std::vector<std::string> stop;  // text that ends the generation; itself never shown
  bool ignore_eos = false;
};

enum class StopReason { kEndToken, kStopString, kTokenLimit, kContextFull, kCancelled };
const char* stop_reason_name(StopReason reason);  // "eos", "stop", "length", "context", "cancelled"

struct GenerateStats {
  std::int64_t n_prompt = 0;  // tokens
  std::int64_t n_generated = 0;
  double prompt_seconds = 0;
  double decode_seconds = 0;
  double first_token_seconds = 0;  // from the call to the first token
  std::uint64_t kv_bytes = 0;
  std::uint64_t rss_anon_bytes =
      0;  // the process's own memory at the end; 0 where the system does not tell
  std::uint64_t rss_file_bytes = 0;  // mapped file pages
};

struct GenerateResult {
  std::string text;               // what was generated, without the prompt
  std::vector<std::int32_t> ids;  // generated ids, end token included
  StopReason reason = StopReason::kTokenLimit;
  GenerateStats stats;
};

// Called with each piece of text as soon as it is certain (complete characters, no beginning of a
// stop string). Return false to stop.
using OnText = std::function<bool(std::string_view piece)>;

// One sequence over one engine: successive calls continue it.
// Thread-safety: one call at a time.
class GenerationSession {
 public:
  // n_ctx positions; allocates the cache.
  static Result<GenerationSession> create(const Engine& engine, std::int64_t n_ctx);
  GenerationSession(GenerationSession&&) noexcept;
  GenerationSession& operator=(GenerationSession&&) noexcept;
  ~GenerationSession();

  // Appends the prompt's tokens to the sequence and generates. A prompt that is empty, or longer
  // than what is left of the context, is an error before any work.
  Result<GenerateResult> generate(std::span<const std::int32_t> prompt_ids,
                                  const GenerateOptions& options, const OnText& on_text = {});

  std::int64_t position()
      const;  // tokens in the cache (the last generated id is not, until the next call)
  void reset();
  Status rewind(std::int64_t position);  // as KvCacheBuffer::rewind

 private:
  class Impl;
  explicit GenerationSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cria

// The tokenizer keys of a GGUF file (tokenizer.ggml.*, tokenizer.chat_template) -> Vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tokenizer/vocabulary.h"

namespace cria {

// The arrays as they stand in the file; empty means absent.
struct GgufTokenizer {
  std::string_view model;                     // tokenizer.ggml.model: "gpt2" or "llama"
  std::string_view pre;                       // tokenizer.ggml.pre: "llama-bpe"
  std::span<const std::string> tokens;        // tokenizer.ggml.tokens
  std::span<const std::int32_t> token_types;  // tokenizer.ggml.token_type, 1 = normal when absent
  std::span<const std::string> merges;        // tokenizer.ggml.merges: "left right"
  std::span<const float> scores;              // tokenizer.ggml.scores
  std::optional<std::int64_t> bos_id, eos_id, eot_id, eom_id;
  std::optional<bool> add_bos;  // tokenizer.ggml.add_bos_token
  std::string_view chat_template;
};

// kUnsupported names an unknown model or pre-tokenizer. Llama 3's end tokens are end tokens where
// they exist, whatever eos_id says. `what` names the file in errors.
Result<Vocabulary> read_gguf_vocabulary(const GgufTokenizer& gguf, std::string_view what);

}  // namespace cria

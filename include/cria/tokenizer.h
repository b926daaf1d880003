// Text <-> token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cria/status.h"

namespace cria {

class Tokenizer;  // internal

struct ChatTurn {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
};

// A tokenizer on its own, or the one inside a compiled model. Cheap to copy (shared).
// Thread-safety: all methods are const and safe from any thread.
class TextTokenizer {
 public:
  // `path_or_id`: a `.pte`, a GGUF file, a Hugging Face folder (its tokenizer files are enough) or
  // tokenizer.json, a tiktoken `tokenizer.model`, a llama2.c tokenizer `.bin`, or a model id found
  // in the local Hugging Face cache.
  static Result<TextTokenizer> open(const std::string& path_or_id);
  explicit TextTokenizer(std::shared_ptr<const Tokenizer> tokenizer);

  // Ids of `text`. With `add_begin` the begin-of-text token comes first, never twice. Special
  // tokens that are spelled out in the text ("<|eot_id|>") become their ids only with
  // `parse_special`.
  Result<std::vector<std::int32_t>> encode(std::string_view text, bool add_begin = true,
                                           bool parse_special = true) const;

  // Bytes of the ids, special tokens left out unless `show_special`. May be invalid UTF-8 if the
  // ids are.
  std::string decode(std::span<const std::int32_t> ids, bool show_special = false) const;

  std::int32_t n_vocab() const;
  std::int32_t bos_id() const;                       // -1: none
  const std::vector<std::int32_t>& eos_ids() const;  // every id that ends a text or a turn

  // The conversation in the model's chat template, ready for encode(add_begin = true), ending with
  // the header of the assistant's answer. kUnsupported when the model has no chat template that
  // cria knows. `date`: as the template wants it ("26 Jul 2024"); empty = the template's own
  // default. `tools_json`: a JSON array of tool descriptions, or empty.
  Result<std::string> render_chat(std::span<const ChatTurn> messages, const std::string& date = "",
                                  const std::string& tools_json = "") const;

  const Tokenizer& internal() const { return *tokenizer_; }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace cria

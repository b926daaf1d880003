// What every fuzz target of this folder does with a vocabulary that a reader let through.
#pragma once

#include <cstdlib>
#include <string>

#include "tokenizer/tokenizer.h"

namespace cria {

// Ids lie within the vocabulary, and no byte of a text is lost.
inline void check_vocabulary_works(const Vocabulary& vocabulary) {
  const auto tokenizer = Tokenizer::build(vocabulary);
  if (!tokenizer.ok()) return;
  const std::string text = "the hello 123 <|eot_id|>\n\xc3\xa9\xff <s>";
  const auto ids = tokenizer->encode(text, {.force_bos = true});
  if (!ids.ok()) std::abort();
  for (const std::int32_t id : *ids) {
    if (id < 0 || id >= tokenizer->n_vocab()) std::abort();
  }
  const auto plain = tokenizer->encode(text, {.parse_special = false});
  // A begin token that is a normal token is shown like any text.
  const bool has_bos = vocabulary.add_bos && vocabulary.bos_id >= 0;
  const bool bos_shows = has_bos && tokenizer->token_kind(vocabulary.bos_id) != TokenKind::kSpecial;
  const bool stripped = vocabulary.model == TokenizerModel::kSentencePiece;
  if (!bos_shows && (has_bos || !stripped) && tokenizer->decode(*plain) != text) std::abort();
}

}  // namespace cria

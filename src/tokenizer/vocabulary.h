// What a tokenizer is made of, in a form that every file format can be turned into.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cria {

enum class TokenKind : std::uint8_t {
  kNormal,   // made by merging
  kSpecial,  // matched whole when special tokens are parsed, not shown by default
  kByte,     // kSentencePiece only: stands for one byte that no other token covers
  kUnused,   // never made by encoding, shows as nothing
  kAdded,    // always matched whole, and shown like text
};

enum class TokenizerModel : std::uint8_t {
  kByteBpe,        // Llama 3: bytes, regular-expression pre-tokenizer, merges by rank
  kSentencePiece,  // llama2.c: merges by score, U+2581 for spaces, <0xNN> byte fallback
};

struct Token {
  std::string
      bytes;  // the bytes that the token stands for (not the GPT-2 byte-to-unicode spelling)
  TokenKind kind = TokenKind::kNormal;
  float score = 0;  // kSentencePiece only
};

// Untrusted until Tokenizer::build() accepted it.
struct Vocabulary {
  TokenizerModel model = TokenizerModel::kByteBpe;
  std::vector<Token> tokens;  // by id
  // kByteBpe: pairs of token ids in order of priority. Empty: any two tokens whose concatenation is
  // a token may merge, lowest id first (tiktoken ranks).
  struct Merge {
    std::int32_t left, right;
  };
  std::vector<Merge> merges;
  bool ignore_merges = false;         // a whole pre-token that is a token is taken as it is
  std::int32_t bos_id = -1;           // -1: none
  std::vector<std::int32_t> eos_ids;  // all ids that end a text or a turn
  bool add_bos = true;
  std::string chat_template;  // Jinja source, empty if none
};

}  // namespace cria

#include "tokenizer/llama2c.h"

#include <cmath>

#include "base/byte_reader.h"
#include "tokenizer/tokenizer_blob.h"

namespace cria {

namespace {

constexpr std::int32_t kUnknownId = 0, kBosId = 1, kEosId = 2, kFirstByteId = 3;

Result<Token> read_token(ByteReader& reader, std::int32_t max_length, std::int32_t id) {
  Token token;
  CRIA_ASSIGN_OR_RETURN(token.score, reader.read<float>("a token's score"));
  CRIA_ASSIGN_OR_RETURN(const auto length, reader.read<std::int32_t>("a token's length"));
  if (!std::isfinite(token.score)) {
    return bad_input("{}: token {} has the score {}", reader.what(), id, token.score);
  }
  if (length < 0 || length > max_length) {
    return bad_input("{}: token {} has {} bytes, the longest should have {}", reader.what(), id,
                     length, max_length);
  }
  CRIA_ASSIGN_OR_RETURN(const std::string_view bytes,
                        reader.take_text(static_cast<std::uint64_t>(length), "a token"));
  token.bytes = bytes;
  return token;
}

// What ids 0 to 258 mean is part of the format; the file spells <s> with newlines around it.
void set_kind(Token& token, std::int32_t id) {
  if (id == kUnknownId) {
    token.kind = TokenKind::kUnused;
  } else if (id == kBosId) {
    token = {"<s>", TokenKind::kSpecial, 0};
  } else if (id == kEosId) {
    token = {"</s>", TokenKind::kSpecial, 0};
  } else if (id < kFirstByteId + 256) {
    token = {std::string(1, static_cast<char>(id - kFirstByteId)), TokenKind::kByte, 0};
  }
}

}  // namespace

Result<Vocabulary> read_llama2c_vocabulary(std::span<const std::byte> bytes, std::string_view what,
                                           std::int32_t n_vocab) {
  ByteReader reader(bytes, what);
  CRIA_ASSIGN_OR_RETURN(const auto max_length, reader.read<std::int32_t>("the longest token"));
  if (max_length < 1 || static_cast<std::size_t>(max_length) > kMaxTokenBytes) {
    return bad_input("{}: the longest token has {} bytes, expected 1 to {}", what, max_length,
                     kMaxTokenBytes);
  }
  Vocabulary vocabulary;
  vocabulary.model = TokenizerModel::kSentencePiece;
  vocabulary.bos_id = kBosId;
  vocabulary.eos_ids = {kEosId};
  while (reader.remaining() > 0) {
    const auto id = static_cast<std::int32_t>(vocabulary.tokens.size());
    if (id >= kMaxTokens) return bad_input("{}: more than {} tokens", what, kMaxTokens);
    CRIA_ASSIGN_OR_RETURN(Token token, read_token(reader, max_length, id));
    set_kind(token, id);
    vocabulary.tokens.push_back(std::move(token));
  }
  const auto n_tokens = static_cast<std::int32_t>(vocabulary.tokens.size());
  if (n_tokens < kFirstByteId + 256) {
    return bad_input("{}: {} tokens, the bytes alone take {}", what, n_tokens, kFirstByteId + 256);
  }
  if (n_vocab >= 0 && n_tokens != n_vocab) {
    return bad_input("{}: {} tokens, the model has {}", what, n_tokens, n_vocab);
  }
  return vocabulary;
}

}  // namespace cria

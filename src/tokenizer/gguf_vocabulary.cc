#include "tokenizer/gguf_vocabulary.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "tokenizer/gpt2_bytes.h"
#include "tokenizer/llama3_tokens.h"
#include "tokenizer/tokenizer_blob.h"

namespace cria {

namespace {

enum GgufTokenType : std::int32_t {
  kTypeNormal = 1,
  kTypeUnknown = 2,
  kTypeControl = 3,
  kTypeUserDefined = 4,
  kTypeUnused = 5,
  kTypeByte = 6,
};

Result<TokenKind> token_kind(std::int32_t type, std::size_t id, std::string_view what) {
  switch (type) {
    case kTypeNormal:
      return TokenKind::kNormal;
    case kTypeControl:
      return TokenKind::kSpecial;
    case kTypeUserDefined:
      return TokenKind::kAdded;
    case kTypeUnknown:
    case kTypeUnused:
      return TokenKind::kUnused;
    case kTypeByte:
      return TokenKind::kByte;
    default:
      return bad_input("{}: token {} has the type {}, expected 1 to 6", what, id, type);
  }
}

// "<0x41>" -> "A".
Result<std::string> byte_of_spelling(std::string_view spelling, std::string_view what) {
  unsigned value = 0;
  if (spelling.size() == 6 && spelling.starts_with("<0x") && spelling.ends_with('>')) {
    const char* end = spelling.data() + 5;
    const auto parsed = std::from_chars(spelling.data() + 3, end, value, 16);
    if (parsed.ec == std::errc() && parsed.ptr == end) {
      return std::string(1, static_cast<char>(value));
    }
  }
  return bad_input("{}: the byte token '{}' is not spelled <0xNN>", what, spelling);
}

// SentencePiece writes a space as U+2581.
std::string spaces_restored(std::string_view spelling) {
  constexpr std::string_view kSpace = "\xe2\x96\x81";
  std::string bytes;
  for (std::size_t at = 0; at < spelling.size();) {
    const bool space = spelling.substr(at).starts_with(kSpace);
    bytes.push_back(space ? ' ' : spelling[at]);
    at += space ? kSpace.size() : 1;
  }
  return bytes;
}

Result<std::string> token_bytes(const std::string& spelling, TokenKind kind, TokenizerModel model,
                                std::string_view what) {
  if (kind == TokenKind::kByte) return byte_of_spelling(spelling, what);
  if (kind != TokenKind::kNormal) return std::string(spelling);
  if (model == TokenizerModel::kSentencePiece) return spaces_restored(spelling);
  auto bytes = gpt2_spelling_to_bytes(spelling);
  if (!bytes.ok()) return std::move(bytes).status().with_context(std::string(what));
  return bytes;
}

Status check_model(const GgufTokenizer& gguf, std::string_view what) {
  if (gguf.model == "llama") return {};
  if (gguf.model != "gpt2") {
    return unsupported("{}: tokenizer.ggml.model is '{}', supported are gpt2 and llama", what,
                       gguf.model);
  }
  for (const std::string_view known : {"llama-bpe", "llama3", "llama-v3"}) {
    if (gguf.pre == known) return {};
  }
  return unsupported("{}: tokenizer.ggml.pre is '{}', only llama-bpe is supported", what, gguf.pre);
}

Status check_counts(const GgufTokenizer& gguf, std::string_view what) {
  const std::size_t n = gguf.tokens.size();
  if (n == 0) return bad_input("{}: tokenizer.ggml.tokens is missing or empty", what);
  if (!gguf.token_types.empty() && gguf.token_types.size() != n) {
    return bad_input("{}: {} token types for {} tokens", what, gguf.token_types.size(), n);
  }
  if (!gguf.scores.empty() && gguf.scores.size() != n) {
    return bad_input("{}: {} token scores for {} tokens", what, gguf.scores.size(), n);
  }
  if (gguf.model == "llama" && gguf.scores.empty()) {
    return bad_input("{}: tokenizer.ggml.scores is missing, a llama tokenizer merges by it", what);
  }
  if (gguf.model == "gpt2" && gguf.merges.empty()) {
    return bad_input("{}: tokenizer.ggml.merges is missing, a gpt2 tokenizer needs it", what);
  }
  return {};
}

Status read_tokens(const GgufTokenizer& gguf, std::string_view what, Vocabulary& vocabulary) {
  vocabulary.tokens.reserve(gguf.tokens.size());
  for (std::size_t id = 0; id < gguf.tokens.size(); ++id) {
    Token token;
    const std::int32_t type = gguf.token_types.empty() ? kTypeNormal : gguf.token_types[id];
    CRIA_ASSIGN_OR_RETURN(token.kind, token_kind(type, id, what));
    CRIA_ASSIGN_OR_RETURN(token.bytes,
                          token_bytes(gguf.tokens[id], token.kind, vocabulary.model, what));
    if (!gguf.scores.empty()) token.score = gguf.scores[id];
    vocabulary.tokens.push_back(std::move(token));
  }
  return {};
}

Status read_merges(const GgufTokenizer& gguf, std::string_view what, Vocabulary& vocabulary) {
  // An ordered map: no choice of tokens makes it slow.
  std::map<std::string_view, std::int32_t> ids;
  for (std::size_t id = 0; id < gguf.tokens.size(); ++id) {
    if (vocabulary.tokens[id].kind != TokenKind::kNormal) continue;
    ids.emplace(gguf.tokens[id], static_cast<std::int32_t>(id));
  }
  vocabulary.merges.reserve(gguf.merges.size());
  for (const std::string& merge : gguf.merges) {
    const std::string_view text = merge;
    // A token may start with a space only where the file does not spell spaces as GPT-2 does.
    const std::size_t space = text.find(' ', 1);
    const auto left = ids.find(text.substr(0, space));
    const auto right =
        space == std::string_view::npos ? ids.end() : ids.find(text.substr(space + 1));
    if (left == ids.end() || right == ids.end()) {
      return bad_input("{}: the merge '{}' is not two tokens", what, text);
    }
    vocabulary.merges.push_back({left->second, right->second});
  }
  return {};
}

Result<std::int32_t> checked_id(std::optional<std::int64_t> id, const char* key, std::size_t n,
                                std::string_view what) {
  if (!id.has_value()) return kNoToken;
  if (*id < 0 || *id >= static_cast<std::int64_t>(n)) {
    return bad_input("{}: tokenizer.ggml.{} is {}, there are {} tokens", what, key, *id, n);
  }
  return static_cast<std::int32_t>(*id);
}

Status read_ids(const GgufTokenizer& gguf, std::string_view what, Vocabulary& vocabulary) {
  const std::size_t n = gguf.tokens.size();
  CRIA_ASSIGN_OR_RETURN(vocabulary.bos_id, checked_id(gguf.bos_id, "bos_token_id", n, what));
  CRIA_ASSIGN_OR_RETURN(const auto eos, checked_id(gguf.eos_id, "eos_token_id", n, what));
  CRIA_ASSIGN_OR_RETURN(const auto eot, checked_id(gguf.eot_id, "eot_token_id", n, what));
  CRIA_ASSIGN_OR_RETURN(const auto eom, checked_id(gguf.eom_id, "eom_token_id", n, what));
  for (const std::int32_t id : {eos, eot, eom}) {
    auto& ids = vocabulary.eos_ids;
    if (id != kNoToken && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  add_llama3_end_tokens(vocabulary);
  return {};
}

}  // namespace

Result<Vocabulary> read_gguf_vocabulary(const GgufTokenizer& gguf, std::string_view what) {
  CRIA_RETURN_IF_ERROR(check_model(gguf, what));
  CRIA_RETURN_IF_ERROR(check_counts(gguf, what));
  Vocabulary vocabulary;
  const bool byte_bpe = gguf.model == "gpt2";
  vocabulary.model = byte_bpe ? TokenizerModel::kByteBpe : TokenizerModel::kSentencePiece;
  CRIA_RETURN_IF_ERROR(read_tokens(gguf, what, vocabulary));
  if (byte_bpe) CRIA_RETURN_IF_ERROR(read_merges(gguf, what, vocabulary));
  CRIA_RETURN_IF_ERROR(read_ids(gguf, what, vocabulary));
  vocabulary.ignore_merges = byte_bpe;  // what "llama-bpe" stands for
  vocabulary.add_bos = gguf.add_bos.value_or(true);
  vocabulary.chat_template = gguf.chat_template;
  return vocabulary;
}

}  // namespace cria

// Text to token ids and back.
//
//   CRIA_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::build(std::move(vocabulary)));
//   CRIA_ASSIGN_OR_RETURN(std::vector<std::int32_t> ids, tokenizer.encode("Hello"));
//   std::string text = tokenizer.decode(ids);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/tokenizer_blob.h"
#include "tokenizer/vocabulary.h"

namespace cria {

struct EncodeOptions {
  // Puts the begin token first where the vocabulary wants one (Vocabulary::add_bos); never a second
  // one when the text already starts with it.
  bool add_bos = true;
  // Text that spells a special token becomes that token. Off: it is text like any other.
  bool parse_special = true;
  // Puts the begin token first even where Vocabulary::add_bos is off. Needs add_bos.
  bool force_bos = false;
};

// All state is one read-only block of bytes (tokenizer_blob.h): made by build(), or lying in a
// mapped file and used in place. Copies share it.
// Thread-safety: const methods may run at the same time on any number of threads.
class Tokenizer {
 public:
  // Checks the vocabulary and builds its tables. kBadInput names what does not fit.
  static Result<Tokenizer> build(const Vocabulary& vocabulary);

  // Uses what serialize() wrote, in place: `bytes` (of any alignment) must outlive the tokenizer
  // and all copies of it. Reads a few hundred bytes and allocates next to nothing. The bytes may be
  // malicious: then ids and texts are wrong, but within bounds, and every call ends.
  // `what` names the source in errors.
  static Result<Tokenizer> load(std::span<const std::byte> bytes, std::string_view what);

  // The block that load() takes. Equal vocabularies give equal bytes.
  std::vector<std::byte> serialize() const;

  // The ids of `text`, any bytes. All ids are in [0, n_vocab()). Time grows as n log n at worst.
  Result<std::vector<std::int32_t>> encode(std::string_view text,
                                           const EncodeOptions& options = {}) const;

  // The bytes of `ids`, one after the other. Ids outside the vocabulary and unused tokens add
  // nothing, nor do special tokens unless `show_special`. kSentencePiece: one leading space is
  // dropped directly after the begin token.
  std::string decode(std::span<const std::int32_t> ids, bool show_special = false) const;

  // What decode() adds for `id` after `previous_id` (-1: none).
  std::string_view shown_bytes(std::int32_t id, std::int32_t previous_id, bool show_special) const;

  // The bytes of one token (a view into the block); empty for ids outside the vocabulary.
  std::string_view token_bytes(std::int32_t id) const { return view_.token_bytes(id); }
  TokenKind token_kind(std::int32_t id) const { return view_.token_kind(id); }
  // The token with exactly these bytes: a special or added one first, else a normal one.
  std::optional<std::int32_t> token_id(std::string_view bytes) const;

  std::int32_t n_vocab() const { return view_.n_tokens(); }
  std::int32_t bos_id() const { return view_.bos_id(); }  // -1: none
  const std::vector<std::int32_t>& eos_ids() const { return eos_ids_; }
  bool is_eos(std::int32_t id) const;
  bool add_bos() const { return view_.add_bos(); }
  TokenizerModel model() const { return view_.model(); }
  std::string_view chat_template() const { return view_.chat_template(); }  // empty: none

 private:
  explicit Tokenizer(const TokenizerView& view) : view_(view) {}
  void index_special_tokens();

  std::shared_ptr<const std::vector<std::byte>> owned_;  // null when the bytes are the caller's
  TokenizerView view_;
  std::vector<std::int32_t> eos_ids_;
  std::vector<bool> special_first_bytes_;  // by byte value: may start a special or added token
};

// Turns ids into text one at a time without ever splitting a character: the bytes of a UTF-8
// character are held back until it is complete. Bytes that cannot become a character are passed on
// as they are, so that nothing is lost. The tokenizer must outlive it.
// Thread-safety: one thread at a time.
class StreamDecoder {
 public:
  // `previous_id`: the id before the first one to be pushed (the last of the prompt), -1 if none.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool show_special = false,
                         std::int32_t previous_id = -1)
      : tokenizer_(&tokenizer), show_special_(show_special), previous_id_(previous_id) {}

  // The text that became complete with `id`; often empty in the middle of a character.
  std::string push(std::int32_t id);
  // What is still held back, incomplete as it is. Afterwards nothing is.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  bool show_special_;
  std::int32_t previous_id_;
  std::string held_;  // a proper prefix of a UTF-8 character: at most 3 bytes
};

}  // namespace cria

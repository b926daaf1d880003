#include "tokenizer/tokenizer.h"

#include <algorithm>

#include "tokenizer/encoder.h"
#include "tokenizer/utf8.h"

namespace cria {

Result<Tokenizer> Tokenizer::build(const Vocabulary& vocabulary) {
  CRIA_ASSIGN_OR_RETURN(std::vector<std::byte> blob, make_tokenizer_blob(vocabulary));
  auto owned = std::make_shared<const std::vector<std::byte>>(std::move(blob));
  CRIA_ASSIGN_OR_RETURN(Tokenizer tokenizer, load(*owned, "vocabulary"));
  tokenizer.owned_ = std::move(owned);
  return tokenizer;
}

Result<Tokenizer> Tokenizer::load(std::span<const std::byte> bytes, std::string_view what) {
  CRIA_ASSIGN_OR_RETURN(const TokenizerView view, TokenizerView::open(bytes, what));
  for (int byte = 0; byte < 256; ++byte) {
    if (view.byte_id(static_cast<std::uint8_t>(byte)) == kNoToken) {
      return bad_input("{}: no token stands for the byte 0x{:02x}", what, byte);
    }
  }
  Tokenizer tokenizer(view);
  tokenizer.eos_ids_ = view.eos_ids();
  tokenizer.index_special_tokens();
  return tokenizer;
}

void Tokenizer::index_special_tokens() {
  special_first_bytes_.assign(256, false);
  for (std::size_t i = 0; i < view_.n_special(); ++i) {
    const std::string_view bytes = view_.token_bytes(view_.special_id(i));
    if (!bytes.empty()) special_first_bytes_[static_cast<std::uint8_t>(bytes[0])] = true;
  }
}

std::vector<std::byte> Tokenizer::serialize() const {
  return {view_.bytes().begin(), view_.bytes().end()};
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text,
                                                    const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    return invalid_argument("text of {} bytes, at most {} can be encoded at once", text.size(),
                            kMaxTextBytes);
  }
  const auto starts_special = [&](char c) {
    return special_first_bytes_[static_cast<std::uint8_t>(c)];
  };
  Encoder encoder(view_, text);
  const bool wants_bos =
      options.add_bos && (view_.add_bos() || options.force_bos) && bos_id() != kNoToken;
  bool bos_is_open = wants_bos;  // not yet decided, the text may bring its own
  std::size_t begin = 0, at = 0;
  while (at < text.size()) {
    const auto found =
        std::find_if(text.begin() + static_cast<std::ptrdiff_t>(at), text.end(), starts_special);
    at = static_cast<std::size_t>(found - text.begin());
    if (at == text.size()) break;
    const std::int32_t id = view_.longest_special_prefix(text.substr(at), options.parse_special);
    if (id == kNoToken) {
      ++at;
      continue;
    }
    if (bos_is_open && !(at == 0 && id == bos_id())) encoder.add_token(bos_id());
    bos_is_open = false;
    CRIA_RETURN_IF_ERROR(encoder.add_text(text.substr(begin, at - begin)));
    encoder.add_token(id);
    at += view_.token_bytes(id).size();
    begin = at;
  }
  if (bos_is_open) encoder.add_token(bos_id());
  CRIA_RETURN_IF_ERROR(encoder.add_text(text.substr(begin)));
  return std::move(encoder).take();
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool show_special) const {
  std::string text;
  std::int32_t previous = kNoToken;
  for (const std::int32_t id : ids) {
    text += shown_bytes(id, previous, show_special);
    previous = id;
  }
  return text;
}

std::string_view Tokenizer::shown_bytes(std::int32_t id, std::int32_t previous_id,
                                        bool show_special) const {
  const TokenKind kind = view_.token_kind(id);
  if (kind == TokenKind::kUnused) return {};
  if (kind == TokenKind::kSpecial && !show_special) return {};
  std::string_view bytes = view_.token_bytes(id);
  // encode() put a space before the text.
  const bool strip = model() == TokenizerModel::kSentencePiece && previous_id != kNoToken &&
                     previous_id == bos_id() && bytes.starts_with(' ');
  if (strip) bytes.remove_prefix(1);
  return bytes;
}

std::optional<std::int32_t> Tokenizer::token_id(std::string_view bytes) const {
  const std::int32_t special = view_.longest_special_prefix(bytes, true);
  if (special != kNoToken && view_.token_bytes(special) == bytes) return special;
  const std::int32_t id = view_.find_token(bytes);
  return id == kNoToken ? std::nullopt : std::optional(id);
}

bool Tokenizer::is_eos(std::int32_t id) const {
  return std::find(eos_ids_.begin(), eos_ids_.end(), id) != eos_ids_.end();
}

std::string StreamDecoder::push(std::int32_t id) {
  held_ += tokenizer_->shown_bytes(id, previous_id_, show_special_);
  previous_id_ = id;
  std::size_t complete = 0;
  while (complete < held_.size()) {
    const int length = utf8_character_length(std::string_view(held_).substr(complete));
    if (length == kUtf8Incomplete) break;
    complete += length == kUtf8Invalid ? 1 : static_cast<std::size_t>(length);
  }
  std::string text = held_.substr(0, complete);
  held_.erase(0, complete);
  return text;
}

std::string StreamDecoder::flush() { return std::exchange(held_, {}); }

}  // namespace cria

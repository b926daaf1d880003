#include "tokenizer/encoder.h"

#include <algorithm>
#include <bit>

#include "tokenizer/pretokenizer.h"

namespace cria {

namespace {

constexpr std::size_t kMaxCachedPieces = 8192;  // 128 KiB
constexpr std::size_t kMinCachedText = 1024;    // below, filling the cache costs more than it saves

std::size_t cache_entries(std::size_t text_bytes) {
  if (text_bytes < kMinCachedText) return 0;
  return std::min(kMaxCachedPieces, std::bit_ceil(text_bytes / 16));
}

}  // namespace

Encoder::Encoder(const TokenizerView& view, std::string_view text)
    : view_(view), text_(text), merger_(view) {
  ids_.reserve(text.size() / 4 + 8);
  if (view.model() == TokenizerModel::kByteBpe) cache_.resize(cache_entries(text.size()));
}

Status Encoder::add_text(std::string_view part) {
  if (part.empty()) return {};
  if (view_.model() == TokenizerModel::kSentencePiece) {
    add_sentence(part);
    return {};
  }
  CRIA_ASSIGN_OR_RETURN(PreTokenSplitter splitter, PreTokenSplitter::create(part));
  for (auto piece = splitter.next(); !piece.empty(); piece = splitter.next()) add_piece(piece);
  return {};
}

void Encoder::add_piece(std::string_view piece) {
  if (piece.size() == 1) {
    ids_.push_back(view_.byte_id(static_cast<std::uint8_t>(piece[0])));
    return;
  }
  const std::uint64_t hash = view_.hash_token(piece);
  CachedPiece* const cached =
      cache_.empty() ? nullptr : &cache_[(hash >> 24) & (cache_.size() - 1)];
  if (cached != nullptr && cached->size_bytes == piece.size() &&
      text_.compare(cached->text_offset, cached->size_bytes, piece) == 0) {
    for (std::uint32_t i = 0; i < cached->n_ids; ++i) ids_.push_back(ids_[cached->ids_offset + i]);
    return;
  }
  const std::size_t ids_offset = ids_.size();
  add_new_piece(piece, hash);
  if (cached == nullptr) return;
  *cached = {static_cast<std::uint32_t>(piece.data() - text_.data()),
             static_cast<std::uint32_t>(piece.size()), static_cast<std::uint32_t>(ids_offset),
             static_cast<std::uint32_t>(ids_.size() - ids_offset)};
}

void Encoder::add_new_piece(std::string_view piece, std::uint64_t hash) {
  const std::int32_t whole = view_.ignore_merges() ? view_.find_token(piece, hash) : kNoToken;
  if (whole != kNoToken) {
    ids_.push_back(whole);
    return;
  }
  const std::size_t begin = ids_.size();
  for (const char c : piece) ids_.push_back(view_.byte_id(static_cast<std::uint8_t>(c)));
  merger_.merge(ids_, begin);
}

// llama2.c's rule: a space before the text, then one symbol per character, all merged at once.
void Encoder::add_sentence(std::string_view part) {
  const bool first = ids_.empty() || ids_.back() == view_.bos_id();
  const std::size_t begin = ids_.size();
  if (first) add_character(" ");
  std::size_t at = 0;
  while (at < part.size()) {
    // A character ends where no continuation byte follows, or at four bytes; what it is worth is
    // decided by the vocabulary, so invalid UTF-8 ends up as bytes.
    std::size_t size = 1;
    while (size < 4 && at + size < part.size() &&
           (static_cast<std::uint8_t>(part[at + size]) & 0xc0) == 0x80) {
      ++size;
    }
    add_character(part.substr(at, size));
    at += size;
  }
  merger_.merge(ids_, begin);
}

void Encoder::add_character(std::string_view character) {
  const std::int32_t id = view_.find_token(character);
  if (id != kNoToken) {
    ids_.push_back(id);
    return;
  }
  for (const char c : character) ids_.push_back(view_.byte_id(static_cast<std::uint8_t>(c)));
}

}  // namespace cria

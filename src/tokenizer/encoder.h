// One call of Tokenizer::encode: its output, scratch memory and cache.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/merger.h"
#include "tokenizer/tokenizer_blob.h"

namespace cria {

// The view and the text must outlive it.
// Thread-safety: one thread at a time.
class Encoder {
 public:
  // REQUIRES: the text has at most kMaxTextBytes.
  Encoder(const TokenizerView& view, std::string_view text);

  void add_token(std::int32_t id) { ids_.push_back(id); }
  // Encodes a part of the text in which no token is matched whole.
  Status add_text(std::string_view part);

  bool starts_with(std::int32_t id) const { return !ids_.empty() && ids_.front() == id; }
  std::vector<std::int32_t> take() && { return std::move(ids_); }

 private:
  // A piece seen before, and where its ids stand in ids_. Both refer to this call's own text and
  // output, so that an entry needs no memory of its own.
  struct CachedPiece {
    std::uint32_t text_offset = 0, size_bytes = 0;  // size 0: empty
    std::uint32_t ids_offset = 0, n_ids = 0;
  };

  void add_piece(std::string_view piece);
  void add_new_piece(std::string_view piece, std::uint64_t hash);
  void add_sentence(std::string_view part);
  void add_character(std::string_view character);

  const TokenizerView& view_;
  std::string_view text_;
  Merger merger_;
  std::vector<std::int32_t> ids_;
  std::vector<CachedPiece> cache_;  // by hash; a power of two of entries, or none
};

inline constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

}  // namespace cria

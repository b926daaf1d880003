// The bytes that a tokenizer runs on: one block, little-endian, used where it lies.
//
// A header of fixed size (BlobHeader) names the sections. Every offset in the block counts from its
// start. Hash tables use linear probing over a power of two of slots, hashes are those of
// hash_bytes() and hash_pair() with the header's seeds; a key lies at most `max_probe` slots after
// its hash. Nothing in the block is trusted: sections are checked when the view is opened, every
// index where it is used.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/vocabulary.h"

namespace cria {

inline constexpr std::int32_t kNoToken = -1;
inline constexpr std::int32_t kMaxTokens = 1 << 22;
inline constexpr std::size_t kMaxTokenBytes = 512;  // bounds the work of building the tables

enum class BlobSection : int {
  kTokenEnds,   // u32[n_tokens]: end of the token's bytes in kTokenBytes; it starts at the last end
  kTokenBytes,  // the bytes of all tokens
  kTokenKinds,  // u8[n_tokens]: TokenKind
  kEosIds,      // i32[]
  kSpecialIds,  // i32[]: special and added tokens, sorted by their bytes
  kByteIds,     // i32[256]: the token of a single byte
  kTokenSlots,  // TokenSlot[]: bytes of a normal token -> id
  kPairSlots,   // PairSlot[]: (left, right) -> (rank, merged)
  kChatTemplate,  // Jinja source
};
inline constexpr int kBlobSections = 9;

struct BlobHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t model;  // TokenizerModel
  std::uint32_t flags;  // kBlobIgnoreMerges | kBlobAddBos
  std::uint32_t n_tokens;
  std::int32_t bos_id;
  std::uint32_t token_seed;  // of the hashes in kTokenSlots
  std::uint32_t pair_seed;   // of the hashes in kPairSlots
  std::uint32_t max_probe;
  struct Extent {
    std::uint64_t offset, size_bytes;
  };
  std::array<Extent, kBlobSections> sections;
};
static_assert(sizeof(BlobHeader) == 40 + 16 * kBlobSections);

inline constexpr std::array<char, 8> kBlobMagic = {'c', 'r', 'i', 'a', 't', 'o', 'k', 'n'};
inline constexpr std::uint32_t kBlobVersion = 1;
inline constexpr std::uint32_t kBlobIgnoreMerges = 1, kBlobAddBos = 2;
inline constexpr std::uint32_t kMaxProbe = 512;

struct TokenSlot {
  std::int32_t id;         // kNoToken: empty
  std::uint32_t hash_tag;  // upper half of the hash, saves most comparisons
};
struct PairSlot {
  std::int32_t left, right;  // left == kNoToken: empty
  std::uint32_t rank;        // lower merges first
  std::int32_t merged;
};

// 64 well mixed bits; part of the format.
std::uint64_t hash_bytes(std::string_view bytes, std::uint32_t seed);
inline std::uint64_t hash_pair(std::int32_t left, std::int32_t right, std::uint32_t seed) {
  std::uint64_t h =
      (std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right)) ^
      (seed * 0x9e3779b97f4a7c15u);
  h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
  h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
  return h ^ (h >> 32);
}

struct PairMerge {
  std::uint32_t rank;
  std::int32_t merged;  // kNoToken: the two do not merge
};

// Reads a block. Cheap to copy; the bytes must outlive it.
// Thread-safety: immutable.
class TokenizerView {
 public:
  static Result<TokenizerView> open(std::span<const std::byte> bytes, std::string_view what);

  std::span<const std::byte> bytes() const { return bytes_; }
  TokenizerModel model() const { return static_cast<TokenizerModel>(header_.model); }
  bool ignore_merges() const { return (header_.flags & kBlobIgnoreMerges) != 0; }
  bool add_bos() const { return (header_.flags & kBlobAddBos) != 0; }
  std::int32_t n_tokens() const { return static_cast<std::int32_t>(header_.n_tokens); }
  std::int32_t bos_id() const { return header_.bos_id; }
  std::string_view chat_template() const { return text(BlobSection::kChatTemplate); }
  std::vector<std::int32_t> eos_ids() const;

  bool contains(std::int32_t id) const { return id >= 0 && id < n_tokens(); }
  // Empty and kUnused for ids outside the vocabulary.
  std::string_view token_bytes(std::int32_t id) const;
  TokenKind token_kind(std::int32_t id) const;

  // The token of a single byte; kNoToken if the vocabulary has none.
  std::int32_t byte_id(std::uint8_t byte) const {
    return checked(read<std::int32_t>(BlobSection::kByteIds, byte));
  }
  // The normal token with exactly these bytes, or kNoToken.
  std::int32_t find_token(std::string_view bytes) const {
    return find_token(bytes, hash_token(bytes));
  }
  std::int32_t find_token(std::string_view bytes, std::uint64_t hash) const;  // = hash_token(bytes)
  std::uint64_t hash_token(std::string_view bytes) const {
    return hash_bytes(bytes, header_.token_seed);
  }
  PairMerge find_pair(std::int32_t left, std::int32_t right) const;

  // Special and added tokens, in the order of their bytes.
  std::size_t n_special() const { return count<std::int32_t>(BlobSection::kSpecialIds); }
  // REQUIRES: index < n_special(). May be kNoToken.
  std::int32_t special_id(std::size_t index) const {
    return checked(read<std::int32_t>(BlobSection::kSpecialIds, index));
  }
  // The longest special or added token that `text` starts with and that `accept_special` allows
  // (false: added ones only), or kNoToken.
  std::int32_t longest_special_prefix(std::string_view text, bool accept_special) const;

 private:
  TokenizerView(std::span<const std::byte> bytes, const BlobHeader& header)
      : bytes_(bytes), header_(header) {}

  const BlobHeader::Extent& extent(BlobSection section) const {
    return header_.sections[static_cast<std::size_t>(section)];
  }
  std::string_view text(BlobSection section) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + extent(section).offset,
            extent(section).size_bytes};
  }
  template <typename T>
  std::size_t count(BlobSection section) const {
    return extent(section).size_bytes / sizeof(T);
  }
  // Element `index` of a section. REQUIRES: index < count<T>(section). Copied, since the block may
  // lie at any address.
  template <typename T>
  T read(BlobSection section, std::size_t index) const {
    T value;
    std::memcpy(&value, bytes_.data() + extent(section).offset + index * sizeof(T), sizeof(T));
    return value;
  }
  std::int32_t checked(std::int32_t id) const { return contains(id) ? id : kNoToken; }

  std::span<const std::byte> bytes_;
  BlobHeader header_;
};

// Checks a vocabulary and lays out its block. kBadInput says what does not fit.
Result<std::vector<std::byte>> make_tokenizer_blob(const Vocabulary& vocabulary);

}  // namespace cria

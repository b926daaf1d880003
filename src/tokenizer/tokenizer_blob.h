// The bytes that a tokenizer runs on: one block, little-endian, used where it lies.
//
// A header of fixed size (BlobHeader) names the sections. Every offset in the block counts from its
// start. Most of the block are tables, so they take no more bits than they need (packed_table.h).
// Nothing in the block is trusted: sections are checked when the view is opened, every index where
// it is used.
//
// Let w be id_bits(n_tokens).
//
// kTokenTable finds normal tokens by their bytes: hashes are those of hash_bytes() with token_seed,
// values are ids of w bits. Checks leave out most wrong tokens; the bytes of the token decide.
//
// kPairTable finds what two neighbours merge into: hashes are those of PairHash with pair_seed, of
// which each pair has its own, and checks have pair_check_bits(), so that they decide. Values have
// w bits for the id of what is merged, and below them the rest of value_bits, 0 to 32, for `order`.
// The pair of the lowest rank merges first. With kBlobRankIsValue the rank is the whole value, of
// 32 bits at most: ids mostly grow from merge to merge, and then order has to say no more than
// which of the pairs that make the same token comes first. Without it the rank is `order`.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/packed_table.h"
#include "tokenizer/vocabulary.h"

namespace cria {

inline constexpr std::int32_t kNoToken = -1;
inline constexpr std::int32_t kMaxTokens = 1 << 22;
inline constexpr std::size_t kMaxTokenBytes = 512;  // bounds the work of building the tables

enum class BlobSection : int {
  kTokenBegins,   // packed array[n_tokens + 1] of begin_bits: where the token's bytes begin in
                  // kTokenBytes; they end where the next ones begin
  kTokenBytes,    // the bytes of all tokens
  kTokenKinds,    // packed array[n_tokens] of kKindBits: TokenKind
  kEosIds,        // i32[]
  kSpecialIds,    // i32[]: special and added tokens, sorted by their bytes
  kByteIds,       // i32[256]: the token of a single byte
  kTokenTable,    // packed table: bytes of a normal token -> id
  kPairTable,     // packed table: (left, right) -> merged, order
  kChatTemplate,  // Jinja source
};
inline constexpr int kBlobSections = 9;
inline constexpr std::uint32_t kKindBits = 3;

struct BlobHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t model;  // TokenizerModel
  std::uint32_t flags;  // kBlob...
  std::uint32_t n_tokens;
  std::int32_t bos_id;
  std::uint32_t token_seed;  // of the hashes in kTokenTable
  std::uint32_t pair_seed;   // of the hashes in kPairTable
  std::uint32_t begin_bits;  // 1 to 32
  PackedShape token_table, pair_table;
  struct Extent {
    std::uint64_t offset, size_bytes;
  };
  std::array<Extent, kBlobSections> sections;
};
static_assert(sizeof(BlobHeader) == 56 + 16 * kBlobSections);

inline constexpr std::array<char, 8> kBlobMagic = {'c', 'r', 'i', 'a', 't', 'o', 'k', 'n'};
// Another one makes compiled models that hold a block of an older one stale.
inline constexpr std::uint32_t kBlobVersion = 2;
inline constexpr std::uint32_t kBlobIgnoreMerges = 1, kBlobAddBos = 2, kBlobRankIsValue = 4;

// Of the greatest id, at least 1.
constexpr std::uint32_t id_bits(std::uint32_t n_tokens) {
  return std::max<std::uint32_t>(1, static_cast<std::uint32_t>(std::bit_width(n_tokens - 1)));
}

// 64 well mixed bits; part of the format. With the constants of PairHash, n bytes and arithmetic
// modulo 2^64: h = (seed + 1) * kMix2 ^ n * kMix1, seed + 1 modulo 2^32. Then for each word
// h = (h ^ word) * kMix1, h ^= h >> 32. At last h *= kMix2, h ^= h >> 29. The words are:
//   n >= 8: the u64 at 0, 8, ... below n - 8, and the one at n - 8
//   n >= 4: the u32 at 0, shifted left by 32, | the one at n - 4
//   n > 0:  the byte at 0, shifted left by 16, | that at n / 2, shifted left by 8, | that at n - 1
std::uint64_t hash_bytes(std::string_view bytes, std::uint32_t seed);

// The hash of two ids of id_bits each; part of the format. It lies in the upper 2 * id_bits bits,
// the others are zero. Every step can be undone, so each pair has its own.
class PairHash {
 public:
  static constexpr std::uint64_t kMix1 = 0x9e3779b97f4a7c15u, kMix2 = 0xd6e8feb86659fd93u;

  PairHash(std::uint32_t id_bits, std::uint32_t seed)
      : id_bits_(id_bits),
        mask_(~std::uint64_t{0} << (64 - 2 * id_bits)),
        mix1_(kMix1 + 2 * std::uint64_t{seed}) {}

  // REQUIRES: both ids have at most id_bits.
  std::uint64_t operator()(std::int32_t left, std::int32_t right) const {
    std::uint64_t h = std::uint64_t{static_cast<std::uint32_t>(left)} << (64 - id_bits_) |
                      std::uint64_t{static_cast<std::uint32_t>(right)} << (64 - 2 * id_bits_);
    h *= mix1_;
    h ^= (h >> id_bits_) & mask_;
    return h * kMix2;
  }

 private:
  std::uint32_t id_bits_;
  std::uint64_t mask_, mix1_;
};

// Bits of the checks in kPairTable: enough to tell all pairs apart (packed_table.h),
// 2 * id_bits - floor(log2(n_homes)), at least 0.
std::uint32_t pair_check_bits(std::uint32_t id_bits, std::uint32_t n_homes);

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
  TokenizerView(std::span<const std::byte> bytes, const BlobHeader& header);

  const BlobHeader::Extent& extent(BlobSection section) const {
    return header_.sections[static_cast<std::size_t>(section)];
  }
  const std::byte* data(BlobSection section) const {
    return bytes_.data() + extent(section).offset;
  }
  std::string_view text(BlobSection section) const {
    return {reinterpret_cast<const char*>(data(section)), extent(section).size_bytes};
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
    std::memcpy(&value, data(section) + index * sizeof(T), sizeof(T));
    return value;
  }
  std::int32_t checked(std::int32_t id) const { return contains(id) ? id : kNoToken; }

  std::span<const std::byte> bytes_;
  BlobHeader header_;
  const std::byte* begins_;
  std::string_view token_text_;
  PackedTable token_table_, pair_table_;
  PairHash pair_hash_;
  std::uint32_t order_bits_;
  std::uint64_t rank_mask_;
};

// Checks a vocabulary and lays out its block. kBadInput says what does not fit.
Result<std::vector<std::byte>> make_tokenizer_blob(const Vocabulary& vocabulary);

}  // namespace cria

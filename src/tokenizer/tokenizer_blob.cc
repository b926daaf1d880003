#include "tokenizer/tokenizer_blob.h"

namespace cria {

namespace {

constexpr std::uint64_t kMix1 = PairHash::kMix1, kMix2 = PairHash::kMix2;
constexpr std::uint32_t kMaxEosIds = 1024;

template <typename T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

std::uint64_t mix(std::uint64_t h, std::uint64_t word) {
  h = (h ^ word) * kMix1;
  return h ^ (h >> 32);
}

constexpr std::array<const char*, kBlobSections> kSectionNames = {
    "token begins", "token bytes", "token kinds", "end ids",      "special ids",
    "byte ids",     "token table", "pair table",  "chat template"};
constexpr std::uint32_t kMaxBeginBits = 32, kMaxOrderBits = 32, kMaxRankBits = 32;

Status check_fields(const BlobHeader& header, std::string_view what) {
  if (header.model > static_cast<std::uint32_t>(TokenizerModel::kSentencePiece)) {
    return unsupported("{}: tokenizer model {} is not known", what, header.model);
  }
  if (header.n_tokens == 0 || header.n_tokens > static_cast<std::uint32_t>(kMaxTokens)) {
    return bad_input("{}: {} tokens, expected 1 to {}", what, header.n_tokens, kMaxTokens);
  }
  if (header.bos_id < kNoToken || header.bos_id >= static_cast<std::int32_t>(header.n_tokens)) {
    return bad_input("{}: begin token {} of {} tokens", what, header.bos_id, header.n_tokens);
  }
  if (header.begin_bits < 1 || header.begin_bits > kMaxBeginBits) {
    return bad_input("{}: token begins of {} bits, expected 1 to {}", what, header.begin_bits,
                     kMaxBeginBits);
  }
  return {};
}

Status check_tables(const BlobHeader& header, std::string_view what) {
  const auto bytes_of = [&](BlobSection section) {
    return header.sections[static_cast<std::size_t>(section)].size_bytes;
  };
  const std::uint32_t w = id_bits(header.n_tokens);
  const PackedShape& tokens = header.token_table;
  if (!tokens.fits(bytes_of(BlobSection::kTokenTable)) || tokens.value_bits != w) {
    return bad_input("{}: the token table's shape does not fit its {} bytes and {} tokens", what,
                     bytes_of(BlobSection::kTokenTable), header.n_tokens);
  }
  const PackedShape& pairs = header.pair_table;
  const std::uint32_t max_bits =
      (header.flags & kBlobRankIsValue) != 0 ? kMaxRankBits : w + kMaxOrderBits;
  if (!pairs.fits(bytes_of(BlobSection::kPairTable)) || pairs.value_bits < w ||
      pairs.value_bits > max_bits || pairs.check_bits != pair_check_bits(w, pairs.n_homes)) {
    return bad_input("{}: the pair table's shape does not fit its {} bytes and {} tokens", what,
                     bytes_of(BlobSection::kPairTable), header.n_tokens);
  }
  return {};
}

Status check_sections(const BlobHeader& header, std::size_t size_bytes, std::string_view what) {
  for (int i = 0; i < kBlobSections; ++i) {
    const auto& extent = header.sections[static_cast<std::size_t>(i)];
    if (extent.offset > size_bytes || extent.size_bytes > size_bytes - extent.offset) {
      return bad_input("{}: section {} at {} + {} bytes lies outside the {} bytes", what,
                       kSectionNames[static_cast<std::size_t>(i)], extent.offset, extent.size_bytes,
                       size_bytes);
    }
  }
  const auto bytes_of = [&](BlobSection section) {
    return header.sections[static_cast<std::size_t>(section)].size_bytes;
  };
  const std::uint64_t n = header.n_tokens;
  const bool fits =
      bytes_of(BlobSection::kTokenBegins) == packed_size_bytes(n + 1, header.begin_bits) &&
      bytes_of(BlobSection::kTokenKinds) == packed_size_bytes(n, kKindBits) &&
      bytes_of(BlobSection::kEosIds) <= kMaxEosIds * sizeof(std::int32_t) &&
      bytes_of(BlobSection::kSpecialIds) <= n * sizeof(std::int32_t) &&
      bytes_of(BlobSection::kByteIds) == 256 * sizeof(std::int32_t);
  if (!fits) return bad_input("{}: section sizes do not fit {} tokens", what, n);
  return check_tables(header, what);
}

}  // namespace

std::uint64_t hash_bytes(std::string_view bytes, std::uint32_t seed) {
  const char* at = bytes.data();
  const std::size_t n = bytes.size();
  std::uint64_t h = (seed + 1) * kMix2 ^ n * kMix1;
  if (n >= 8) {
    for (std::size_t i = 0; i + 8 < n; i += 8) h = mix(h, load<std::uint64_t>(at + i));
    h = mix(h, load<std::uint64_t>(at + n - 8));  // the last 8 bytes, overlapping those before
  } else if (n >= 4) {
    h = mix(h, std::uint64_t{load<std::uint32_t>(at)} << 32 | load<std::uint32_t>(at + n - 4));
  } else if (n > 0) {
    h = mix(h, std::uint64_t{load<std::uint8_t>(at)} << 16 |
                   std::uint64_t{load<std::uint8_t>(at + n / 2)} << 8 |
                   load<std::uint8_t>(at + n - 1));
  }
  h *= kMix2;
  return h ^ (h >> 29);
}

std::uint32_t pair_check_bits(std::uint32_t id_bits, std::uint32_t n_homes) {
  const auto log2 = static_cast<std::uint32_t>(std::bit_width(n_homes)) - 1;
  return 2 * id_bits > log2 ? 2 * id_bits - log2 : 0;
}

TokenizerView::TokenizerView(std::span<const std::byte> bytes, const BlobHeader& header)
    : bytes_(bytes),
      header_(header),
      begins_(data(BlobSection::kTokenBegins)),
      token_text_(text(BlobSection::kTokenBytes)),
      token_table_(data(BlobSection::kTokenTable), header.token_table),
      pair_table_(data(BlobSection::kPairTable), header.pair_table),
      pair_hash_(id_bits(header.n_tokens), header.pair_seed),
      order_bits_(header.pair_table.value_bits - id_bits(header.n_tokens)),
      rank_mask_(low_bits((header.flags & kBlobRankIsValue) != 0 ? kMaxRankBits : order_bits_)) {}

Result<TokenizerView> TokenizerView::open(std::span<const std::byte> bytes, std::string_view what) {
  BlobHeader header;
  const std::size_t n_read = std::min(bytes.size(), sizeof(header));
  if (n_read < offsetof(BlobHeader, model)) {
    return bad_input("{}: {} bytes are too few for a tokenizer", what, bytes.size());
  }
  // Other versions' headers may be shorter.
  std::memcpy(&header, bytes.data(), n_read);
  if (header.magic != kBlobMagic) return bad_input("{}: not a tokenizer of cria", what);
  if (header.version != kBlobVersion) {
    return unsupported("{}: tokenizer version {}, this build reads {}: compile the model again",
                       what, header.version, kBlobVersion);
  }
  if (n_read < sizeof(header)) {
    return bad_input("{}: {} bytes, a tokenizer's header has {}", what, bytes.size(),
                     sizeof(header));
  }
  CRIA_RETURN_IF_ERROR(check_fields(header, what));
  CRIA_RETURN_IF_ERROR(check_sections(header, bytes.size(), what));
  return TokenizerView(bytes, header);
}

std::vector<std::int32_t> TokenizerView::eos_ids() const {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < count<std::int32_t>(BlobSection::kEosIds); ++i) {
    const auto id = read<std::int32_t>(BlobSection::kEosIds, i);
    if (contains(id)) ids.push_back(id);
  }
  return ids;
}

std::string_view TokenizerView::token_bytes(std::int32_t id) const {
  if (!contains(id)) return {};
  const std::uint64_t bit = static_cast<std::uint64_t>(id) * header_.begin_bits;
  const std::uint64_t mask = low_bits(header_.begin_bits);
  const std::uint64_t begin = bits_from(begins_, bit) & mask;
  const std::uint64_t end = bits_from(begins_, bit + header_.begin_bits) & mask;
  if (begin > end || end > token_text_.size()) return {};
  return {token_text_.data() + begin, end - begin};
}

TokenKind TokenizerView::token_kind(std::int32_t id) const {
  if (!contains(id)) return TokenKind::kUnused;
  const std::uint64_t kind =
      bits_from(data(BlobSection::kTokenKinds), static_cast<std::uint64_t>(id) * kKindBits) &
      low_bits(kKindBits);
  return kind > static_cast<std::uint64_t>(TokenKind::kAdded) ? TokenKind::kUnused
                                                              : static_cast<TokenKind>(kind);
}

std::int32_t TokenizerView::find_token(std::string_view bytes, std::uint64_t hash) const {
  const std::uint64_t id = token_table_.find(hash, [&](std::uint64_t value) {
    return token_bytes(static_cast<std::int32_t>(value)) == bytes;
  });
  return id == PackedTable::kNone ? kNoToken : checked(static_cast<std::int32_t>(id));
}

PairMerge TokenizerView::find_pair(std::int32_t left, std::int32_t right) const {
  if (!contains(left) || !contains(right)) return {0, kNoToken};
  const std::uint64_t value =
      pair_table_.find(pair_hash_(left, right), [](std::uint64_t) { return true; });
  if (value == PackedTable::kNone) return {0, kNoToken};
  return {static_cast<std::uint32_t>(value & rank_mask_),
          checked(static_cast<std::int32_t>(value >> order_bits_))};
}

std::int32_t TokenizerView::longest_special_prefix(std::string_view text,
                                                   bool accept_special) const {
  // Byte `depth` of the special token at `index`; -1 past its end, which sorts first.
  const auto byte_at = [&](std::size_t index, std::size_t depth) {
    const std::string_view bytes = token_bytes(special_id(index));
    return depth < bytes.size() ? static_cast<int>(static_cast<std::uint8_t>(bytes[depth])) : -1;
  };
  std::int32_t best = kNoToken;
  std::size_t low = 0, high = n_special();  // those that start with text[0, depth)
  for (std::size_t depth = 0; depth < text.size() && low < high; ++depth) {
    const int wanted = static_cast<std::uint8_t>(text[depth]);
    const auto first_from = [&](int byte, std::size_t begin) {
      std::size_t end = high;
      while (begin < end) {
        const std::size_t middle = begin + (end - begin) / 2;
        if (byte_at(middle, depth) < byte) {
          begin = middle + 1;
        } else {
          end = middle;
        }
      }
      return begin;
    };
    low = first_from(wanted, low);
    high = first_from(wanted + 1, low);
    if (low >= high || byte_at(low, depth + 1) >= 0) continue;
    const std::int32_t id = special_id(low);
    if (accept_special || token_kind(id) == TokenKind::kAdded) best = id;
  }
  return best;
}

}  // namespace cria

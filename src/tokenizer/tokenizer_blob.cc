#include "tokenizer/tokenizer_blob.h"

#include <bit>

namespace cria {

namespace {

constexpr std::uint64_t kMix1 = 0x9e3779b97f4a7c15u, kMix2 = 0xd6e8feb86659fd93u;
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
    "token ends", "token bytes", "token kinds", "end ids",      "special ids",
    "byte ids",   "token slots", "pair slots",  "chat template"};

bool is_table(std::uint64_t size_bytes, std::size_t slot_bytes) {
  return size_bytes == 0 ||
         (size_bytes % slot_bytes == 0 && std::has_single_bit(size_bytes / slot_bytes));
}

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
  if (header.max_probe > kMaxProbe) {
    return bad_input("{}: probe length {}, at most {} allowed", what, header.max_probe, kMaxProbe);
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
  const bool fits = bytes_of(BlobSection::kTokenEnds) == n * sizeof(std::uint32_t) &&
                    bytes_of(BlobSection::kTokenKinds) == n &&
                    bytes_of(BlobSection::kEosIds) <= kMaxEosIds * sizeof(std::int32_t) &&
                    bytes_of(BlobSection::kSpecialIds) <= n * sizeof(std::int32_t) &&
                    bytes_of(BlobSection::kByteIds) == 256 * sizeof(std::int32_t) &&
                    is_table(bytes_of(BlobSection::kTokenSlots), sizeof(TokenSlot)) &&
                    is_table(bytes_of(BlobSection::kPairSlots), sizeof(PairSlot));
  if (!fits) return bad_input("{}: section sizes do not fit {} tokens", what, n);
  return {};
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

Result<TokenizerView> TokenizerView::open(std::span<const std::byte> bytes, std::string_view what) {
  BlobHeader header;
  if (bytes.size() < sizeof(header)) {
    return bad_input("{}: {} bytes, a tokenizer's header has {}", what, bytes.size(),
                     sizeof(header));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != kBlobMagic) return bad_input("{}: not a tokenizer of cria", what);
  if (header.version != kBlobVersion) {
    return unsupported("{}: tokenizer version {}, this build reads {}", what, header.version,
                       kBlobVersion);
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
  const auto index = static_cast<std::size_t>(id);
  const std::uint32_t begin =
      index == 0 ? 0 : read<std::uint32_t>(BlobSection::kTokenEnds, index - 1);
  const auto end = read<std::uint32_t>(BlobSection::kTokenEnds, index);
  const std::string_view all = text(BlobSection::kTokenBytes);
  if (begin > end || end > all.size()) return {};
  return all.substr(begin, end - begin);
}

TokenKind TokenizerView::token_kind(std::int32_t id) const {
  if (!contains(id)) return TokenKind::kUnused;
  const auto kind = read<std::uint8_t>(BlobSection::kTokenKinds, static_cast<std::size_t>(id));
  return kind > static_cast<std::uint8_t>(TokenKind::kAdded) ? TokenKind::kUnused
                                                             : static_cast<TokenKind>(kind);
}

std::int32_t TokenizerView::find_token(std::string_view bytes, std::uint64_t hash) const {
  const std::size_t n_slots = count<TokenSlot>(BlobSection::kTokenSlots);
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t probe = 0; probe <= header_.max_probe && probe < n_slots; ++probe) {
    const auto slot = read<TokenSlot>(BlobSection::kTokenSlots, (hash + probe) & (n_slots - 1));
    if (slot.id == kNoToken) return kNoToken;
    if (slot.hash_tag == tag && token_bytes(slot.id) == bytes) return checked(slot.id);
  }
  return kNoToken;
}

PairMerge TokenizerView::find_pair(std::int32_t left, std::int32_t right) const {
  const std::size_t n_slots = count<PairSlot>(BlobSection::kPairSlots);
  const std::uint64_t hash = hash_pair(left, right, header_.pair_seed);
  for (std::size_t probe = 0; probe <= header_.max_probe && probe < n_slots; ++probe) {
    const auto slot = read<PairSlot>(BlobSection::kPairSlots, (hash + probe) & (n_slots - 1));
    if (slot.left == left && slot.right == right) return {slot.rank, checked(slot.merged)};
    if (slot.left == kNoToken) break;
  }
  return {0, kNoToken};
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

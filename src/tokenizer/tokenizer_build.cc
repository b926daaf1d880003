// From a Vocabulary to the block of tokenizer_blob.h.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "tokenizer/tokenizer_blob.h"

namespace cria {

namespace {

constexpr std::uint32_t kSeeds = 8;  // tried one after the other when keys collide too much
constexpr std::size_t kSectionAlignment = 64;

// At most two thirds full, so that probes stay short.
std::size_t slots_for(std::size_t n_keys) {
  return n_keys == 0 ? 0 : std::bit_ceil(n_keys + n_keys / 2);
}

// The table of BlobSection::kTokenSlots, while it grows.
class TokenTable {
 public:
  TokenTable(const std::vector<Token>& tokens, std::uint32_t seed)
      : tokens_(&tokens), seed_(seed), slots_(slots_for(tokens.size()), {kNoToken, 0}) {}

  // False: the place is crowded, another seed may do. Of equal tokens the first stays.
  bool insert(std::int32_t id) {
    const std::string& bytes = (*tokens_)[static_cast<std::size_t>(id)].bytes;
    const std::uint64_t hash = hash_bytes(bytes, seed_);
    for (std::uint32_t probe = 0; probe <= kMaxProbe; ++probe) {
      TokenSlot& slot = slots_[(hash + probe) & (slots_.size() - 1)];
      if (slot.id == kNoToken) {
        slot = {id, static_cast<std::uint32_t>(hash >> 32)};
        return true;
      }
      if ((*tokens_)[static_cast<std::size_t>(slot.id)].bytes == bytes) return true;
    }
    return false;
  }

  std::int32_t find(std::string_view bytes) const {
    const std::uint64_t hash = hash_bytes(bytes, seed_);
    for (std::uint32_t probe = 0; probe <= kMaxProbe && probe < slots_.size(); ++probe) {
      const TokenSlot& slot = slots_[(hash + probe) & (slots_.size() - 1)];
      if (slot.id == kNoToken) return kNoToken;
      if (slot.hash_tag == static_cast<std::uint32_t>(hash >> 32) &&
          (*tokens_)[static_cast<std::size_t>(slot.id)].bytes == bytes) {
        return slot.id;
      }
    }
    return kNoToken;
  }

  std::uint32_t seed() const { return seed_; }
  const std::vector<TokenSlot>& slots() const { return slots_; }

 private:
  const std::vector<Token>* tokens_;
  std::uint32_t seed_;
  std::vector<TokenSlot> slots_;
};

Result<TokenTable> make_token_table(const std::vector<Token>& tokens) {
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    TokenTable table(tokens, seed);
    bool fits = true;
    for (std::size_t id = 0; id < tokens.size() && fits; ++id) {
      const Token& token = tokens[id];
      if (token.kind != TokenKind::kNormal || token.bytes.empty()) continue;
      fits = table.insert(static_cast<std::int32_t>(id));
    }
    if (fits) return table;
  }
  return bad_input("vocabulary: its tokens collide in every hash table (made to do so?)");
}

struct PairTable {
  std::uint32_t seed = 0;
  std::vector<PairSlot> slots;
};

// False: crowded. Of equal pairs the first stays, which is the one of the lowest rank.
bool insert_pair(PairTable& table, const PairSlot& pair) {
  const std::uint64_t hash = hash_pair(pair.left, pair.right, table.seed);
  for (std::uint32_t probe = 0; probe <= kMaxProbe; ++probe) {
    PairSlot& slot = table.slots[(hash + probe) & (table.slots.size() - 1)];
    if (slot.left == kNoToken) {
      slot = pair;
      return true;
    }
    if (slot.left == pair.left && slot.right == pair.right) return true;
  }
  return false;
}

Result<PairTable> make_pair_table(const std::vector<PairSlot>& pairs) {
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    PairTable table{
        seed, std::vector<PairSlot>(slots_for(pairs.size()), {kNoToken, kNoToken, 0, kNoToken})};
    const bool fits = std::all_of(pairs.begin(), pairs.end(),
                                  [&](const PairSlot& pair) { return insert_pair(table, pair); });
    if (fits) return table;
  }
  return bad_input("vocabulary: its merges collide in every hash table (made to do so?)");
}

Status check_token(const Vocabulary& vocabulary, std::size_t id) {
  const Token& token = vocabulary.tokens[id];
  if (token.bytes.size() > kMaxTokenBytes) {
    return bad_input("vocabulary: token {} has {} bytes, at most {} are supported", id,
                     token.bytes.size(), kMaxTokenBytes);
  }
  if (token.kind == TokenKind::kByte &&
      (vocabulary.model != TokenizerModel::kSentencePiece || token.bytes.size() != 1)) {
    return bad_input("vocabulary: token {} is a byte token of {} bytes", id, token.bytes.size());
  }
  if (!std::isfinite(token.score)) {
    return bad_input("vocabulary: token {} has the score {}", id, token.score);
  }
  return {};
}

Status check_vocabulary(const Vocabulary& vocabulary) {
  const std::size_t n = vocabulary.tokens.size();
  if (n == 0 || n > static_cast<std::size_t>(kMaxTokens)) {
    return bad_input("vocabulary: {} tokens, expected 1 to {}", n, kMaxTokens);
  }
  std::uint64_t n_bytes = 0;
  for (std::size_t id = 0; id < n; ++id) {
    CRIA_RETURN_IF_ERROR(check_token(vocabulary, id));
    n_bytes += vocabulary.tokens[id].bytes.size();
  }
  if (n_bytes > std::numeric_limits<std::int32_t>::max()) {
    return bad_input("vocabulary: {} bytes of tokens, at most 2 GiB are supported", n_bytes);
  }
  const auto is_token = [&](std::int32_t id) {
    return id >= 0 && static_cast<std::size_t>(id) < n;
  };
  if (vocabulary.bos_id != kNoToken && !is_token(vocabulary.bos_id)) {
    return bad_input("vocabulary: begin token {}, there are {} tokens", vocabulary.bos_id, n);
  }
  for (const std::int32_t id : vocabulary.eos_ids) {
    if (!is_token(id)) return bad_input("vocabulary: end token {}, there are {} tokens", id, n);
  }
  return {};
}

// Every way to cut a token into two tokens. `rank_of(id)` gives the priority.
template <typename RankOf>
std::vector<PairSlot> pairs_from_splits(const std::vector<Token>& tokens, const TokenTable& table,
                                        const RankOf& rank_of) {
  std::vector<PairSlot> pairs;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const std::string_view bytes = tokens[i].bytes;
    if (tokens[i].kind != TokenKind::kNormal || table.find(bytes) != id) continue;
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      const std::int32_t left = table.find(bytes.substr(0, cut));
      if (left == kNoToken) continue;
      const std::int32_t right = table.find(bytes.substr(cut));
      if (right != kNoToken) pairs.push_back({left, right, rank_of(i), id});
    }
  }
  return pairs;
}

// Ranks by falling score; equal scores share a rank, since the leftmost of them merges first.
std::vector<std::uint32_t> score_ranks(const std::vector<Token>& tokens) {
  std::vector<float> scores;
  scores.reserve(tokens.size());
  for (const Token& token : tokens) scores.push_back(token.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  std::vector<std::uint32_t> ranks;
  ranks.reserve(tokens.size());
  for (const Token& token : tokens) {
    const auto at = std::lower_bound(scores.begin(), scores.end(), token.score, std::greater<>());
    ranks.push_back(static_cast<std::uint32_t>(at - scores.begin()));
  }
  return ranks;
}

Result<std::vector<PairSlot>> pairs_from_merges(const Vocabulary& vocabulary,
                                                const TokenTable& table) {
  const auto& tokens = vocabulary.tokens;
  const auto is_normal = [&](std::int32_t id) {
    return id >= 0 && static_cast<std::size_t>(id) < tokens.size() &&
           tokens[static_cast<std::size_t>(id)].kind == TokenKind::kNormal;
  };
  if (vocabulary.merges.size() >= std::numeric_limits<std::uint32_t>::max()) {
    return bad_input("vocabulary: {} merges are too many", vocabulary.merges.size());
  }
  std::vector<PairSlot> pairs;
  pairs.reserve(vocabulary.merges.size());
  std::string joined;
  for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto [left, right] = vocabulary.merges[rank];
    if (!is_normal(left) || !is_normal(right)) {
      return bad_input("vocabulary: merge {} joins {} and {}, which are not both normal tokens",
                       rank, left, right);
    }
    joined = tokens[static_cast<std::size_t>(left)].bytes;
    joined += tokens[static_cast<std::size_t>(right)].bytes;
    const std::int32_t merged = table.find(joined);
    if (merged == kNoToken) {
      return bad_input("vocabulary: merge {} of {} and {} makes bytes that are no token", rank,
                       left, right);
    }
    pairs.push_back({left, right, static_cast<std::uint32_t>(rank), merged});
  }
  return pairs;
}

Result<std::vector<PairSlot>> make_pairs(const Vocabulary& vocabulary, const TokenTable& table) {
  if (vocabulary.model == TokenizerModel::kSentencePiece) {
    const std::vector<std::uint32_t> ranks = score_ranks(vocabulary.tokens);
    return pairs_from_splits(vocabulary.tokens, table, [&](std::size_t id) { return ranks[id]; });
  }
  if (!vocabulary.merges.empty()) return pairs_from_merges(vocabulary, table);
  return pairs_from_splits(vocabulary.tokens, table,
                           [](std::size_t id) { return static_cast<std::uint32_t>(id); });
}

// The token of each byte: without all of them some text could not be encoded.
Result<std::vector<std::int32_t>> make_byte_ids(const Vocabulary& vocabulary,
                                                const TokenTable& table) {
  std::vector<std::int32_t> ids(256, kNoToken);
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Token& token = vocabulary.tokens[id];
    if (token.kind != TokenKind::kByte) continue;
    std::int32_t& slot = ids[static_cast<std::uint8_t>(token.bytes[0])];
    if (slot == kNoToken) slot = static_cast<std::int32_t>(id);
  }
  for (std::size_t byte = 0; byte < ids.size(); ++byte) {
    const char c = static_cast<char>(byte);
    if (ids[byte] == kNoToken) ids[byte] = table.find({&c, 1});
    if (ids[byte] == kNoToken) {
      return bad_input("vocabulary: no token stands for the byte 0x{:02x}", byte);
    }
  }
  return ids;
}

std::vector<std::int32_t> make_special_ids(const std::vector<Token>& tokens) {
  std::vector<std::int32_t> ids;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const TokenKind kind = tokens[id].kind;
    if ((kind == TokenKind::kSpecial || kind == TokenKind::kAdded) && !tokens[id].bytes.empty()) {
      ids.push_back(static_cast<std::int32_t>(id));
    }
  }
  const auto bytes = [&](std::int32_t id) -> const std::string& {
    return tokens[static_cast<std::size_t>(id)].bytes;
  };
  std::stable_sort(ids.begin(), ids.end(),
                   [&](std::int32_t a, std::int32_t b) { return bytes(a) < bytes(b); });
  ids.erase(std::unique(ids.begin(), ids.end(),
                        [&](std::int32_t a, std::int32_t b) { return bytes(a) == bytes(b); }),
            ids.end());
  return ids;
}

class BlobWriter {
 public:
  BlobWriter() : bytes_(sizeof(BlobHeader)) {}

  template <typename T>
  void add(BlobSection section, std::span<const T> values) {
    bytes_.resize((bytes_.size() + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment);
    header.sections[static_cast<std::size_t>(section)] = {bytes_.size(), values.size_bytes()};
    const auto raw = std::as_bytes(values);
    bytes_.insert(bytes_.end(), raw.begin(), raw.end());
  }

  std::vector<std::byte> finish() && {
    std::memcpy(bytes_.data(), &header, sizeof(header));
    return std::move(bytes_);
  }

  BlobHeader header{};

 private:
  std::vector<std::byte> bytes_;
};

void add_tokens(BlobWriter& writer, const std::vector<Token>& tokens) {
  std::vector<std::uint32_t> ends;
  std::vector<std::uint8_t> kinds;
  std::string all;
  for (const Token& token : tokens) {
    all += token.bytes;
    ends.push_back(static_cast<std::uint32_t>(all.size()));
    kinds.push_back(static_cast<std::uint8_t>(token.kind));
  }
  writer.add<std::uint32_t>(BlobSection::kTokenEnds, ends);
  writer.add<char>(BlobSection::kTokenBytes, all);
  writer.add<std::uint8_t>(BlobSection::kTokenKinds, kinds);
}

}  // namespace

Result<std::vector<std::byte>> make_tokenizer_blob(const Vocabulary& vocabulary) {
  CRIA_RETURN_IF_ERROR(check_vocabulary(vocabulary));
  CRIA_ASSIGN_OR_RETURN(const TokenTable table, make_token_table(vocabulary.tokens));
  CRIA_ASSIGN_OR_RETURN(const auto byte_ids, make_byte_ids(vocabulary, table));
  CRIA_ASSIGN_OR_RETURN(const auto pairs, make_pairs(vocabulary, table));
  CRIA_ASSIGN_OR_RETURN(const PairTable pair_table, make_pair_table(pairs));

  BlobWriter writer;
  BlobHeader& header = writer.header;
  header.magic = kBlobMagic;
  header.version = kBlobVersion;
  header.model = static_cast<std::uint32_t>(vocabulary.model);
  header.flags = (vocabulary.ignore_merges ? kBlobIgnoreMerges : 0) |
                 (vocabulary.add_bos && vocabulary.bos_id != kNoToken ? kBlobAddBos : 0);
  header.n_tokens = static_cast<std::uint32_t>(vocabulary.tokens.size());
  header.bos_id = vocabulary.bos_id;
  header.token_seed = table.seed();
  header.pair_seed = pair_table.seed;
  header.max_probe = kMaxProbe;
  add_tokens(writer, vocabulary.tokens);
  writer.add<std::int32_t>(BlobSection::kEosIds, vocabulary.eos_ids);
  writer.add<std::int32_t>(BlobSection::kSpecialIds, make_special_ids(vocabulary.tokens));
  writer.add<std::int32_t>(BlobSection::kByteIds, byte_ids);
  writer.add<TokenSlot>(BlobSection::kTokenSlots, table.slots());
  writer.add<PairSlot>(BlobSection::kPairSlots, pair_table.slots);
  writer.add<char>(BlobSection::kChatTemplate, vocabulary.chat_template);
  return std::move(writer).finish();
}

}  // namespace cria

// From a Vocabulary to the block of tokenizer_blob.h.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "tokenizer/tokenizer_blob.h"

namespace cria {

namespace {

constexpr std::uint32_t kSeeds = 8;  // tried one after the other when keys collide too much
constexpr std::size_t kSectionAlignment = 64;
// One in 64 wrong tokens that a search passes gets to a comparison of bytes.
constexpr std::uint8_t kTokenCheckBits = 6;

std::string_view bytes_of(const std::vector<Token>& tokens, std::uint64_t id) {
  return tokens[static_cast<std::size_t>(id)].bytes;
}

// The table of BlobSection::kTokenTable.
struct TokenTable {
  const std::vector<Token>* tokens;
  std::uint32_t seed;
  PackedTableBytes packed;

  // Of equal tokens the first one.
  std::int32_t find(std::string_view bytes) const {
    const std::uint64_t id = packed.table().find(
        hash_bytes(bytes, seed), [&](std::uint64_t id) { return bytes_of(*tokens, id) == bytes; });
    return id == PackedTable::kNone ? kNoToken : static_cast<std::int32_t>(id);
  }
};

Result<TokenTable> make_token_table(const std::vector<Token>& tokens) {
  const auto same = [&](std::uint64_t a, std::uint64_t b) {
    return bytes_of(tokens, a) == bytes_of(tokens, b);
  };
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    std::vector<PackedEntry> entries;
    entries.reserve(tokens.size());
    for (std::size_t id = 0; id < tokens.size(); ++id) {
      const Token& token = tokens[id];
      if (token.kind != TokenKind::kNormal || token.bytes.empty()) continue;
      entries.push_back({hash_bytes(token.bytes, seed), id});
    }
    const auto value_bits =
        static_cast<std::uint8_t>(id_bits(static_cast<std::uint32_t>(tokens.size())));
    auto packed = pack_table(entries,
                             {.n_homes = homes_for(entries.size()),
                              .check_bits = kTokenCheckBits,
                              .value_bits = value_bits},
                             same);
    if (packed) return TokenTable{&tokens, seed, std::move(*packed)};
  }
  return bad_input("vocabulary: its tokens collide in every hash table (made to do so?)");
}

struct Pair {
  std::int32_t left, right;
  std::uint32_t rank;  // lower ones merge first
  std::int32_t merged;
};

// BlobSection::kPairTable.
struct PairTable {
  std::uint32_t seed;
  bool rank_is_value;
  PackedTableBytes packed;
};

// Numbers of the pairs, by index, such that (merged, number) is in the order of the ranks and equal
// where they are equal. nullopt: there are none.
std::optional<std::vector<std::uint32_t>> orders_within_merged(const std::vector<Pair>& pairs) {
  const auto earlier = [&](std::size_t a, std::size_t b) {
    return std::pair(pairs[a].rank, pairs[a].merged) < std::pair(pairs[b].rank, pairs[b].merged);
  };
  std::vector<std::size_t> by_rank(pairs.size());
  std::iota(by_rank.begin(), by_rank.end(), std::size_t{0});
  if (!std::is_sorted(by_rank.begin(), by_rank.end(), earlier)) {
    std::sort(by_rank.begin(), by_rank.end(), earlier);
  }
  std::vector<std::uint32_t> orders(pairs.size());
  for (std::size_t i = 1; i < by_rank.size(); ++i) {
    const Pair &last = pairs[by_rank[i - 1]], &pair = pairs[by_rank[i]];
    if (pair.merged < last.merged) return std::nullopt;
    if (pair.merged > last.merged && pair.rank == last.rank) return std::nullopt;
    if (pair.merged == last.merged) {
      orders[by_rank[i]] = orders[by_rank[i - 1]] + (pair.rank != last.rank ? 1 : 0);
    }
  }
  return orders;
}

// The values of the table, one a pair, and their shape.
struct PairValues {
  std::vector<std::uint64_t> values;
  std::uint32_t value_bits;
  bool rank_is_value;
};

PairValues pair_values(const std::vector<Pair>& pairs, std::uint32_t w) {
  const auto bits_for = [](const std::vector<std::uint32_t>& orders) {
    const auto greatest = std::max_element(orders.begin(), orders.end());
    return greatest == orders.end() ? 0u : static_cast<std::uint32_t>(std::bit_width(*greatest));
  };
  auto orders = orders_within_merged(pairs);
  const bool rank_is_value = orders && w + bits_for(*orders) <= 32;
  if (!rank_is_value) {
    orders.emplace();
    for (const Pair& pair : pairs) orders->push_back(pair.rank);
  }
  const std::uint32_t order_bits = bits_for(*orders);
  PairValues result{{}, w + order_bits, rank_is_value};
  result.values.reserve(pairs.size());
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    result.values.push_back(static_cast<std::uint64_t>(pairs[i].merged) << order_bits |
                            (*orders)[i]);
  }
  return result;
}

// Of equal pairs the first stays, which is the one of the lowest rank.
Result<PairTable> make_pair_table(const std::vector<Pair>& pairs, std::size_t n_tokens) {
  const std::uint32_t w = id_bits(static_cast<std::uint32_t>(n_tokens));
  const PairValues values = pair_values(pairs, w);
  const std::uint32_t n_homes = homes_for(pairs.size());
  const PackedShape shape{.n_homes = n_homes,
                          .check_bits = static_cast<std::uint8_t>(pair_check_bits(w, n_homes)),
                          .value_bits = static_cast<std::uint8_t>(values.value_bits)};
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    const PairHash hash(w, seed);
    std::vector<PackedEntry> entries;
    entries.reserve(pairs.size());
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      entries.push_back({hash(pairs[i].left, pairs[i].right), values.values[i]});
    }
    auto packed = pack_table(entries, shape, [](std::uint64_t, std::uint64_t) { return true; });
    if (packed) return PairTable{seed, values.rank_is_value, std::move(*packed)};
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
std::vector<Pair> pairs_from_splits(const std::vector<Token>& tokens, const TokenTable& table,
                                    const RankOf& rank_of) {
  std::vector<Pair> pairs;
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

Result<std::vector<Pair>> pairs_from_merges(const Vocabulary& vocabulary, const TokenTable& table) {
  const auto& tokens = vocabulary.tokens;
  const auto is_normal = [&](std::int32_t id) {
    return id >= 0 && static_cast<std::size_t>(id) < tokens.size() &&
           tokens[static_cast<std::size_t>(id)].kind == TokenKind::kNormal;
  };
  if (vocabulary.merges.size() > std::numeric_limits<std::int32_t>::max()) {
    return bad_input("vocabulary: {} merges are too many", vocabulary.merges.size());
  }
  std::vector<Pair> pairs;
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

Result<std::vector<Pair>> make_pairs(const Vocabulary& vocabulary, const TokenTable& table) {
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
  std::vector<std::uint64_t> begins, kinds;
  std::string all;
  for (const Token& token : tokens) {
    begins.push_back(all.size());
    kinds.push_back(static_cast<std::uint64_t>(token.kind));
    all += token.bytes;
  }
  begins.push_back(all.size());
  const int begin_bits = std::max(1, static_cast<int>(std::bit_width(all.size())));
  writer.header.begin_bits = static_cast<std::uint32_t>(begin_bits);
  writer.add<std::byte>(BlobSection::kTokenBegins, pack_array(begins, writer.header.begin_bits));
  writer.add<char>(BlobSection::kTokenBytes, all);
  writer.add<std::byte>(BlobSection::kTokenKinds, pack_array(kinds, kKindBits));
}

}  // namespace

Result<std::vector<std::byte>> make_tokenizer_blob(const Vocabulary& vocabulary) {
  CRIA_RETURN_IF_ERROR(check_vocabulary(vocabulary));
  CRIA_ASSIGN_OR_RETURN(const TokenTable table, make_token_table(vocabulary.tokens));
  CRIA_ASSIGN_OR_RETURN(const auto byte_ids, make_byte_ids(vocabulary, table));
  CRIA_ASSIGN_OR_RETURN(const auto pairs, make_pairs(vocabulary, table));
  CRIA_ASSIGN_OR_RETURN(const PairTable pair_table,
                        make_pair_table(pairs, vocabulary.tokens.size()));

  BlobWriter writer;
  BlobHeader& header = writer.header;
  header.magic = kBlobMagic;
  header.version = kBlobVersion;
  header.model = static_cast<std::uint32_t>(vocabulary.model);
  header.flags = (vocabulary.ignore_merges ? kBlobIgnoreMerges : 0) |
                 (vocabulary.add_bos && vocabulary.bos_id != kNoToken ? kBlobAddBos : 0) |
                 (pair_table.rank_is_value ? kBlobRankIsValue : 0);
  header.n_tokens = static_cast<std::uint32_t>(vocabulary.tokens.size());
  header.bos_id = vocabulary.bos_id;
  header.token_seed = table.seed;
  header.pair_seed = pair_table.seed;
  header.token_table = table.packed.shape;
  header.pair_table = pair_table.packed.shape;
  add_tokens(writer, vocabulary.tokens);
  writer.add<std::int32_t>(BlobSection::kEosIds, vocabulary.eos_ids);
  writer.add<std::int32_t>(BlobSection::kSpecialIds, make_special_ids(vocabulary.tokens));
  writer.add<std::int32_t>(BlobSection::kByteIds, byte_ids);
  writer.add<std::byte>(BlobSection::kTokenTable, table.packed.bytes);
  writer.add<std::byte>(BlobSection::kPairTable, pair_table.packed.bytes);
  writer.add<char>(BlobSection::kChatTemplate, vocabulary.chat_template);
  return std::move(writer).finish();
}

}  // namespace cria

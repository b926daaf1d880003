#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <thread>

#include "tokenizer/merger.h"
#include "tokenizer/tokenizer_testing.h"
#include "tokenizer/utf8.h"

namespace cria {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Ids = std::vector<std::int32_t>;

constexpr std::int32_t kBos = kTinyNormal, kEot = kTinyNormal + 5;

Tokenizer tiny(const Vocabulary& vocabulary = tiny_vocabulary()) {
  auto tokenizer = Tokenizer::build(vocabulary);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return std::move(tokenizer).value();
}

Ids encode(const Tokenizer& tokenizer, std::string_view text, const EncodeOptions& options = {}) {
  auto ids = tokenizer.encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status().message();
  return std::move(ids).value();
}

constexpr EncodeOptions kPlain = {.add_bos = false, .parse_special = false};

std::string stream(const Tokenizer& tokenizer, const Ids& ids, bool show_special = false) {
  StreamDecoder decoder(tokenizer, show_special);
  const std::string whole = tokenizer.decode(ids, show_special);
  const bool valid = utf8_valid_prefix(whole) == whole.size();  // then every part is, too
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string part = decoder.push(id);
    if (valid) {
      EXPECT_EQ(utf8_valid_prefix(part), part.size()) << testing::PrintToString(part);
    }
    text += part;
  }
  return text + decoder.flush();
}

TEST(Tokenizer, MergesByRank) {
  const Tokenizer tokenizer = tiny();
  const auto id = [&](std::string_view text) { return *tokenizer.token_id(text); };
  EXPECT_THAT(encode(tokenizer, "the hello", kPlain), ElementsAre(id("the"), ' ', id("hello")));
  EXPECT_THAT(encode(tokenizer, " the", kPlain), ElementsAre(id(" the")));
  EXPECT_THAT(encode(tokenizer, "aaaaa", kPlain), ElementsAre(id("aaaa"), 'a'));
  EXPECT_THAT(encode(tokenizer, "1234", kPlain), ElementsAre(id("123"), '4'));
  EXPECT_THAT(encode(tokenizer, "", kPlain), ElementsAre());
}

TEST(Tokenizer, RoundTripsAnyBytes) {
  const Tokenizer byte_bpe = tiny();
  const Tokenizer sentencepiece = tiny(tiny_sentencepiece());
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random_text(random, 30);
    ASSERT_EQ(byte_bpe.decode(encode(byte_bpe, text, kPlain)), text);
    const Ids with_bos = encode(sentencepiece, text, {.parse_special = false});
    ASSERT_EQ(sentencepiece.decode(with_bos), text);
    ASSERT_EQ(stream(sentencepiece, with_bos), text);
    const Ids ids = encode(byte_bpe, text);
    const std::string bos = text.starts_with("<|begin") ? "" : "<|begin_of_text|>";
    ASSERT_EQ(byte_bpe.decode(ids, true), bos + text);
    ASSERT_EQ(stream(byte_bpe, ids, true), byte_bpe.decode(ids, true));
  }
}

TEST(Tokenizer, NeverDoublesTheBeginToken) {
  const Tokenizer tokenizer = tiny();
  EXPECT_THAT(encode(tokenizer, "a"), ElementsAre(kBos, 'a'));
  EXPECT_THAT(encode(tokenizer, ""), ElementsAre(kBos));
  EXPECT_THAT(encode(tokenizer, "<|begin_of_text|>a"), ElementsAre(kBos, 'a'));
  EXPECT_THAT(encode(tokenizer, "a<|begin_of_text|>"), ElementsAre(kBos, 'a', kBos));
  EXPECT_THAT(encode(tokenizer, "<|eot_id|><|begin_of_text|>"), ElementsAre(kBos, kEot, kBos));
  EXPECT_THAT(encode(tokenizer, "<|begin_of_text|>a", {.add_bos = false}), ElementsAre(kBos, 'a'));
  const Ids as_text = encode(tokenizer, "<|begin_of_text|>", {.parse_special = false});
  EXPECT_EQ(as_text.front(), kBos);
  EXPECT_EQ(std::count(as_text.begin(), as_text.end(), kBos), 1);
  EXPECT_GT(as_text.size(), 2u);
}

TEST(Tokenizer, AddsTheBeginTokenOnlyWhereTheVocabularyWantsIt) {
  Vocabulary vocabulary = tiny_vocabulary();
  vocabulary.add_bos = false;
  EXPECT_THAT(encode(tiny(vocabulary), "a"), ElementsAre('a'));
  EXPECT_THAT(encode(tiny(vocabulary), "a", {.force_bos = true}), ElementsAre(kBos, 'a'));
  vocabulary.bos_id = -1;
  EXPECT_THAT(encode(tiny(vocabulary), "a", {.force_bos = true}), ElementsAre('a'));
}

TEST(Tokenizer, ParsesSpecialTokensOnlyWhenAsked) {
  const Tokenizer tokenizer = tiny();
  EXPECT_THAT(encode(tokenizer, "a<|eot_id|>b<|eot_id", {.add_bos = false}),
              testing::AllOf(testing::SizeIs(11), testing::Contains(kEot).Times(1)));
  const Ids plain = encode(tokenizer, "a<|eot_id|>b", kPlain);
  EXPECT_THAT(plain, testing::Each(testing::Lt(kTinyNormal)));
  EXPECT_EQ(tokenizer.decode(plain), "a<|eot_id|>b");
}

TEST(Tokenizer, TakesTheLongestSpecialTokenAndAddedOnesAlways) {
  Vocabulary vocabulary = tiny_vocabulary();
  const auto first = static_cast<std::int32_t>(vocabulary.tokens.size());
  for (const char* text : {"<x", "<x>", "<x>y"}) {
    vocabulary.tokens.push_back({text, TokenKind::kSpecial, 0});
  }
  vocabulary.tokens.push_back({"<x>yz", TokenKind::kAdded, 0});
  const Tokenizer tokenizer = tiny(vocabulary);
  EXPECT_THAT(encode(tokenizer, "<x>y<x>q<xq<x>yz", {.add_bos = false}),
              ElementsAre(first + 2, first + 1, 'q', first, 'q', first + 3));
  EXPECT_THAT(encode(tokenizer, "<x<x>yz", kPlain), ElementsAre('<', 'x', first + 3));
  EXPECT_EQ(tokenizer.decode(Ids{first, first + 3, 'a'}), "<x>yza");
}

TEST(Tokenizer, IgnoreMergesTakesAWholePieceThatIsAToken) {
  Vocabulary vocabulary = tiny_vocabulary();
  const auto id = static_cast<std::int32_t>(vocabulary.tokens.size());
  vocabulary.tokens.push_back({"zebra", TokenKind::kNormal, 0});  // no merge makes it
  EXPECT_THAT(encode(tiny(vocabulary), "zebra", kPlain), testing::SizeIs(5));
  vocabulary.ignore_merges = true;
  EXPECT_THAT(encode(tiny(vocabulary), "zebra", kPlain), ElementsAre(id));
  const std::string special = "<|eot_id|>";  // a special token is never a piece
  EXPECT_THAT(encode(tiny(vocabulary), special, kPlain), testing::SizeIs(special.size()));
}

// Texts over 1 KiB use the cache of pieces, short ones do not.
TEST(Tokenizer, TheCacheChangesNothing) {
  Vocabulary vocabulary = tiny_vocabulary();
  std::mt19937 random(4);
  for (const bool ignore_merges : {false, true}) {
    vocabulary.ignore_merges = ignore_merges;
    const Tokenizer tokenizer = tiny(vocabulary);
    for (int i = 0; i < 20; ++i) {
      std::string text;
      Ids expected;
      while (text.size() < 20000) {
        // Ends in a newline and starts with a letter: no piece crosses the seam.
        const std::string part = fmt::format("x{}y\n", random_text(random, 60));
        text += part;
        const Ids ids = encode(tokenizer, part, kPlain);
        expected.insert(expected.end(), ids.begin(), ids.end());
      }
      ASSERT_EQ(encode(tokenizer, text, kPlain), expected);
    }
  }
}

TEST(Merger, TheHeapEqualsScanning) {
  const Tokenizer tokenizer = tiny();
  const std::vector<std::byte> blob = tokenizer.serialize();
  const auto view = TokenizerView::open(blob, "test");
  ASSERT_TRUE(view.ok());
  Merger scan(*view, 1000), heap(*view, 0);
  std::mt19937 random(5);
  for (int i = 0; i < 5000; ++i) {
    Ids a = {1, 2, 3};
    constexpr std::string_view kLetters = "aathe andingllo 123";
    const std::size_t n = random() % 100;
    for (std::size_t j = 0; j < n; ++j) a.push_back(kLetters[random() % kLetters.size()]);
    Ids b = a;
    scan.merge(a, 3);
    heap.merge(b, 3);
    ASSERT_EQ(a, b);
  }
}

// How merging is defined, on one piece: the ids after all merges.
Ids merged_by_the_rule(const Vocabulary& vocabulary, const std::string& piece) {
  const auto bytes_of = [&](std::int32_t id) {
    return vocabulary.tokens[static_cast<std::size_t>(id)].bytes;
  };
  std::map<std::string, std::int32_t> ids;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    ids.emplace(vocabulary.tokens[id].bytes, static_cast<std::int32_t>(id));
  }
  std::map<std::pair<std::int32_t, std::int32_t>, std::size_t> ranks;
  for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    ranks.emplace(std::pair(vocabulary.merges[rank].left, vocabulary.merges[rank].right), rank);
  }
  Ids symbols;
  for (const char c : piece) symbols.push_back(static_cast<std::uint8_t>(c));
  while (true) {
    std::size_t best = symbols.size(), best_rank = ranks.size();
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto rank = ranks.find({symbols[i], symbols[i + 1]});
      if (rank == ranks.end() || (best < symbols.size() && rank->second >= best_rank)) continue;
      best = i;
      best_rank = rank->second;
    }
    if (best == symbols.size()) return symbols;
    symbols[best] = ids.at(bytes_of(symbols[best]) + bytes_of(symbols[best + 1]));
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

BlobHeader header_of(std::span<const std::byte> blob) {
  BlobHeader header;
  std::memcpy(&header, blob.data(), sizeof(header));
  return header;
}

// Whether the merges come in the order of the ids that they make, of which one may be made in
// several ways, or in any other order: the block holds ranks differently, and they say the same.
TEST(Tokenizer, AnyOrderOfMergesGivesTheIdsOfTheRule) {
  std::mt19937 random(8);
  int n_by_id = 0, n_by_id_and_order = 0, n_by_rank = 0;
  for (int i = 0; i < 60; ++i) {
    Vocabulary vocabulary = tiny_vocabulary();
    std::map<std::string, std::int32_t> ids;
    for (const char c : {'a', 'b', 'c'}) ids.emplace(std::string(1, c), c);
    vocabulary.merges.clear();
    for (int j = 0; j < 40; ++j) {
      const auto pick = [&] {
        return std::next(ids.begin(), static_cast<std::ptrdiff_t>(random() % ids.size()))->first;
      };
      const std::string token = pick() + pick();
      if (token.size() > 9 || !ids.emplace(token, vocabulary.tokens.size()).second) continue;
      vocabulary.tokens.push_back({token, TokenKind::kNormal, 0});
      for (std::size_t cut = 1; cut < token.size(); ++cut) {
        const auto left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
        if (left == ids.end() || right == ids.end()) continue;
        vocabulary.merges.push_back({left->second, right->second});
        if (i % 3 == 0) break;
      }
    }
    if (i % 3 == 2) {
      vocabulary.merges.push_back(vocabulary.merges.front());  // said twice
      std::shuffle(vocabulary.merges.begin(), vocabulary.merges.end(), random);
    }
    const Tokenizer tokenizer = tiny(vocabulary);
    const BlobHeader header = header_of(tokenizer.serialize());
    const bool rank_is_value = (header.flags & kBlobRankIsValue) != 0;
    const bool has_order = header.pair_table.value_bits > id_bits(header.n_tokens);
    ++(!rank_is_value ? n_by_rank : has_order ? n_by_id_and_order : n_by_id);
    for (int j = 0; j < 200; ++j) {
      std::string piece(1 + random() % 70, 'a');  // scanned and by the heap
      for (char& c : piece) c = "abc"[random() % 3];
      ASSERT_EQ(encode(tokenizer, piece, kPlain), merged_by_the_rule(vocabulary, piece)) << piece;
    }
  }
  EXPECT_GT(n_by_id, 10);
  EXPECT_GT(n_by_id_and_order, 10);
  EXPECT_GT(n_by_rank, 10);
}

// With quadratic merging this would take hours.
TEST(Tokenizer, LongPiecesFinish) {
  const std::string text(1 << 20, 'a');
  const Tokenizer byte_bpe = tiny(), sentencepiece = tiny(tiny_sentencepiece());
  EXPECT_EQ(encode(byte_bpe, text, kPlain).size(), text.size() / 4);
  EXPECT_EQ(byte_bpe.decode(encode(byte_bpe, text, kPlain)), text);
  EXPECT_EQ(sentencepiece.decode(encode(sentencepiece, text)), text);
}

TEST(Tokenizer, SentencePieceAddsASpaceAndFallsBackToBytes) {
  const Tokenizer tokenizer = tiny(tiny_sentencepiece());
  const auto id = [&](std::string_view text) { return *tokenizer.token_id(text); };
  EXPECT_THAT(encode(tokenizer, "hello"), ElementsAre(1, id(" hello")));
  EXPECT_THAT(encode(tokenizer, "éx"), ElementsAre(1, id(" "), id("é"), 3 + 'x'));
  EXPECT_THAT(encode(tokenizer, "\xff"), ElementsAre(1, id(" "), 3 + 0xff));
  EXPECT_THAT(encode(tokenizer, ""), ElementsAre(1));
  EXPECT_THAT(encode(tokenizer, "<s>hello"), ElementsAre(1, id(" hello")));
  EXPECT_EQ(tokenizer.decode(Ids{1, id(" hello")}), "hello");
  EXPECT_EQ(tokenizer.decode(Ids{id(" hello"), id(" hello")}), " hello hello");
  EXPECT_EQ(StreamDecoder(tokenizer, false, 1).push(id(" hello")), "hello");
  EXPECT_EQ(StreamDecoder(tokenizer, false, 7).push(id(" hello")), " hello");
  EXPECT_EQ(tokenizer.decode(Ids{0}), "");
}

TEST(Tokenizer, AnswersAboutItsTokens) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.n_vocab(), kTinyNormal + 6);
  EXPECT_EQ(tokenizer.bos_id(), kBos);
  EXPECT_THAT(tokenizer.eos_ids(), ElementsAre(kEot, kBos + 1));
  EXPECT_TRUE(tokenizer.is_eos(kEot));
  EXPECT_FALSE(tokenizer.is_eos(kBos));
  EXPECT_EQ(tokenizer.token_bytes(kEot), "<|eot_id|>");
  EXPECT_EQ(tokenizer.token_bytes(-1), "");
  EXPECT_EQ(tokenizer.token_bytes(tokenizer.n_vocab()), "");
  EXPECT_EQ(tokenizer.token_id("<|eot_id|>"), kEot);
  EXPECT_EQ(tokenizer.token_id("no such"), std::nullopt);
  EXPECT_EQ(tokenizer.token_id(""), std::nullopt);
  EXPECT_EQ(tokenizer.decode(Ids{-5, 'a', 1 << 30, kEot}), "a");
  EXPECT_EQ(tokenizer.decode(Ids{'a', kEot}, true), "a<|eot_id|>");
  EXPECT_EQ(tokenizer.chat_template(), "{{ bos_token }}");
}

TEST(StreamDecoder, HoldsBackIncompleteCharacters) {
  const Tokenizer tokenizer = tiny();
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(0xf0), "");
  EXPECT_EQ(decoder.push(0x9f), "");
  EXPECT_EQ(decoder.push(0xa6), "");
  EXPECT_EQ(decoder.push(0x99), "🦙");
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.push('x'), "\xe2x");  // can no longer become a character
  EXPECT_EQ(decoder.push(0xff), "\xff");
  EXPECT_EQ(decoder.push(0xc3), "");
  EXPECT_EQ(decoder.flush(), "\xc3");
  EXPECT_EQ(decoder.flush(), "");
}

TEST(Tokenizer, RunsOnManyThreads) {
  const Tokenizer tokenizer = tiny();
  const std::string text = "the hello and the 123 é " + std::string(2000, 'a');
  const Ids expected = encode(tokenizer, text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) EXPECT_EQ(encode(tokenizer, text), expected);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(TokenizerBuild, RefusesWhatDoesNotFit) {
  const auto error_of = [](auto change) {
    Vocabulary vocabulary = tiny_vocabulary();
    change(vocabulary);
    const auto tokenizer = Tokenizer::build(vocabulary);
    return tokenizer.ok() ? std::string("accepted") : tokenizer.status().message();
  };
  EXPECT_THAT(error_of([](Vocabulary& v) { v.tokens.clear(); }), HasSubstr("0 tokens"));
  EXPECT_THAT(error_of([](Vocabulary& v) { v.tokens['q'].bytes = "qq"; }), HasSubstr("0x71"));
  EXPECT_THAT(error_of([](Vocabulary& v) { v.tokens[256].bytes = std::string(513, 'a'); }),
              HasSubstr("513 bytes"));
  EXPECT_THAT(error_of([](Vocabulary& v) { v.tokens[5].kind = TokenKind::kByte; }),
              HasSubstr("byte token"));
  EXPECT_THAT(error_of([](Vocabulary& v) { v.tokens[5].score = NAN; }), HasSubstr("score"));
  EXPECT_THAT(error_of([](Vocabulary& v) { v.bos_id = 9999; }), HasSubstr("begin token 9999"));
  EXPECT_THAT(error_of([](Vocabulary& v) { v.eos_ids = {-1}; }), HasSubstr("end token -1"));
  EXPECT_THAT(error_of([](Vocabulary& v) { v.merges[0].left = -7; }), HasSubstr("merge 0"));
  EXPECT_THAT(error_of([](Vocabulary& v) { v.merges[0].right = kTinyNormal; }),
              HasSubstr("not both normal"));
  EXPECT_THAT(error_of([](Vocabulary& v) { v.merges[0] = {'x', 'y'}; }), HasSubstr("no token"));
}

TEST(TokenizerBlob, SerializedEqualsBuilt) {
  const Tokenizer built = tiny();
  std::vector<std::byte> blob = built.serialize();
  EXPECT_EQ(tiny().serialize(), blob);
  std::mt19937 random(6);
  for (std::size_t shift = 0; shift < 3; ++shift) {  // no alignment is needed
    std::vector<std::byte> shifted(shift);
    shifted.insert(shifted.end(), blob.begin(), blob.end());
    const auto loaded = Tokenizer::load(std::span(shifted).subspan(shift), "test");
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_EQ(loaded->serialize(), blob);
    EXPECT_EQ(loaded->eos_ids(), built.eos_ids());
    EXPECT_EQ(loaded->chat_template(), built.chat_template());
    for (int i = 0; i < 500; ++i) {
      const std::string text = random_text(random, 30);
      ASSERT_EQ(encode(*loaded, text), encode(built, text));
    }
  }
}

TEST(TokenizerBlob, RefusesWhatItsHeaderCannotMean) {
  const std::vector<std::byte> blob = tiny().serialize();
  const auto error_of = [&](auto change) {
    std::vector<std::byte> bytes = blob;
    BlobHeader header = header_of(bytes);
    change(header);
    std::memcpy(bytes.data(), &header, sizeof(header));
    const auto loaded = Tokenizer::load(bytes, "m.pte");
    return loaded.ok() ? std::string("accepted") : loaded.status().message();
  };
  EXPECT_THAT(error_of([](BlobHeader& h) { h.magic[0] = 'x'; }), HasSubstr("m.pte: not a"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.version = 1; }),
              HasSubstr("m.pte: tokenizer version 1, this build reads 2: compile"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.model = 2; }), HasSubstr("model 2"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.n_tokens = 0; }), HasSubstr("0 tokens"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.n_tokens -= 1; }), HasSubstr("section sizes"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.n_tokens = 0xffffffffu; }), HasSubstr("tokens"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.bos_id = -2; }), HasSubstr("begin token"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.bos_id = 1 << 20; }), HasSubstr("begin token"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.begin_bits = 0; }), HasSubstr("begins of 0"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.begin_bits = 33; }), HasSubstr("begins of 33"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.begin_bits += 1; }), HasSubstr("section sizes"));
  const auto expect_refused = [&](PackedShape BlobHeader::*shape, const char* message) {
    EXPECT_THAT(error_of([&](BlobHeader& h) { (h.*shape).n_homes += 1; }), HasSubstr(message));
    EXPECT_THAT(error_of([&](BlobHeader& h) { (h.*shape).place_bits = 0; }), HasSubstr(message));
    // The same size, but ids and orders of other widths.
    EXPECT_THAT(error_of([&](BlobHeader& h) {
                  (h.*shape).value_bits -= 1;
                  (h.*shape).check_bits += 1;
                }),
                HasSubstr(message));
  };
  expect_refused(&BlobHeader::token_table, "token table");
  expect_refused(&BlobHeader::pair_table, "pair table");
  for (int i = 0; i < kBlobSections; ++i) {
    const auto index = static_cast<std::size_t>(i);
    EXPECT_THAT(error_of([&](BlobHeader& h) { h.sections[index].offset = ~0ull; }),
                HasSubstr("outside"));
    EXPECT_THAT(error_of([&](BlobHeader& h) { h.sections[index].size_bytes = ~0ull; }),
                HasSubstr("outside"));
  }
  for (std::size_t size = 0; size < blob.size(); size += size < 400 ? 1 : 97) {
    EXPECT_FALSE(Tokenizer::load(std::span(blob).first(size), "test").ok()) << size;
  }
}

// Damaged tables give wrong ids, but ids of the vocabulary, and every call ends. Out-of-bounds
// reads are for the sanitizers to see.
TEST(TokenizerBlob, DamagedTablesStayInBounds) {
  const std::vector<std::byte> blob = tiny().serialize();
  std::mt19937 random(7);
  int n_loaded = 0;
  const BlobHeader header = header_of(blob);
  // load() refuses bytes without a token, so those mostly stay as they are.
  const auto byte_ids = header.sections[static_cast<std::size_t>(BlobSection::kByteIds)];
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::byte> bytes = blob;
    const std::size_t n_changes = 1 + random() % 400;
    for (std::size_t j = 0; j < n_changes; ++j) {
      const std::size_t at = sizeof(BlobHeader) + random() % (bytes.size() - sizeof(BlobHeader));
      if (i % 10 != 0 && at - byte_ids.offset < byte_ids.size_bytes) continue;
      bytes[at] = static_cast<std::byte>(random() % 2 == 0 ? random() : 0xff);
    }
    const auto loaded = Tokenizer::load(bytes, "test");
    if (!loaded.ok()) continue;
    ++n_loaded;
    const Ids ids = encode(*loaded, random_text(random, 30) + " the hello and 123<|eot_id|>");
    for (const std::int32_t id : ids) ASSERT_TRUE(id >= 0 && id < loaded->n_vocab());
    stream(*loaded, ids, true);
    loaded->token_id("<|eot_id|>");
  }
  EXPECT_GT(n_loaded, 2000);
}

// Programs of before had a shorter header.
TEST(TokenizerBlob, TheVersionIsSaidBeforeTheHeaderIsTooShort) {
  std::vector<std::byte> blob = tiny().serialize();
  blob.resize(sizeof(BlobHeader) - 16);
  EXPECT_THAT(Tokenizer::load(blob, "m.pte").status().message(), HasSubstr("header has"));
  blob[8] = std::byte{1};
  EXPECT_THAT(Tokenizer::load(blob, "m.pte").status().message(), HasSubstr("version 1"));
}

// Every slot full and no key right: probes must stop by themselves.
TEST(TokenizerBlob, FullTablesDoNotHang) {
  std::vector<std::byte> bytes = tiny().serialize();
  const BlobHeader header = header_of(bytes);
  for (const auto section : {BlobSection::kPairTable, BlobSection::kTokenTable}) {
    const auto& extent = header.sections[static_cast<std::size_t>(section)];
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(extent.offset), extent.size_bytes,
                std::byte{0xff});
  }
  const auto loaded = Tokenizer::load(bytes, "test");
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->decode(encode(*loaded, "the hello", kPlain)), "the hello");
}

}  // namespace
}  // namespace cria

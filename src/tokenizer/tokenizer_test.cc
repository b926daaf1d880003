#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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

// A SentencePiece vocabulary of bytes and a few words.
Vocabulary tiny_sentencepiece() {
  Vocabulary vocabulary;
  vocabulary.model = TokenizerModel::kSentencePiece;
  vocabulary.tokens = {{"<unk>", TokenKind::kUnused, 0},
                       {"<s>", TokenKind::kSpecial, 0},
                       {"</s>", TokenKind::kSpecial, 0}};
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte)), TokenKind::kByte, 0});
  }
  float score = 0;
  for (const char* text : {" ", "a", "b", "h", "e", "l", "o", "é", "he", "ll", "hell", "hello",
                           " hello", "aa", " a"}) {
    vocabulary.tokens.push_back({text, TokenKind::kNormal, score});
    score -= 1;
  }
  vocabulary.bos_id = 1;
  vocabulary.eos_ids = {2};
  return vocabulary;
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
    BlobHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    change(header);
    std::memcpy(bytes.data(), &header, sizeof(header));
    const auto loaded = Tokenizer::load(bytes, "m.pte");
    return loaded.ok() ? std::string("accepted") : loaded.status().message();
  };
  EXPECT_THAT(error_of([](BlobHeader& h) { h.magic[0] = 'x'; }), HasSubstr("m.pte: not a"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.version = 9; }), HasSubstr("version 9"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.model = 2; }), HasSubstr("model 2"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.n_tokens = 0; }), HasSubstr("0 tokens"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.n_tokens -= 1; }), HasSubstr("section sizes"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.n_tokens = 0xffffffffu; }), HasSubstr("tokens"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.bos_id = -2; }), HasSubstr("begin token"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.bos_id = 1 << 20; }), HasSubstr("begin token"));
  EXPECT_THAT(error_of([](BlobHeader& h) { h.max_probe = 1u << 31; }), HasSubstr("probe"));
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
  BlobHeader header;
  std::memcpy(&header, blob.data(), sizeof(header));
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

// Every slot full and no key right: probes must stop by themselves.
TEST(TokenizerBlob, FullTablesDoNotHang) {
  std::vector<std::byte> bytes = tiny().serialize();
  BlobHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  for (const auto section : {BlobSection::kPairSlots, BlobSection::kTokenSlots}) {
    const auto& extent = header.sections[static_cast<std::size_t>(section)];
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(extent.offset), extent.size_bytes,
                std::byte{1});
  }
  const auto loaded = Tokenizer::load(bytes, "test");
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->decode(encode(*loaded, "the hello", kPlain)), "the hello");
}

}  // namespace
}  // namespace cria

// The readers of tokenizer files: what they make of good files, and one broken file per rule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/gpt2_bytes.h"
#include "tokenizer/hf_json.h"
#include "tokenizer/llama2c.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_testing.h"

namespace cria {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string testdata(const char* name) {
  return read_text_file(CRIA_SOURCE_DIR "/src/tokenizer/testdata/" + std::string(name)).value();
}

template <typename T>
std::string error_of(const Result<T>& result) {
  return result.ok() ? std::string("accepted")
                     : fmt::format("{}: {}", error_code_name(result.status().code()),
                                   result.status().message());
}

void expect_same_tokens(const Vocabulary& a, const Vocabulary& b) {
  ASSERT_EQ(a.tokens.size(), b.tokens.size());
  for (std::size_t id = 0; id < a.tokens.size(); ++id) {
    EXPECT_EQ(a.tokens[id].bytes, b.tokens[id].bytes) << id;
    EXPECT_EQ(a.tokens[id].kind, b.tokens[id].kind) << id;
  }
}

TEST(Gpt2Bytes, RoundTrip) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(*gpt2_spelling_to_bytes(bytes_to_gpt2_spelling(all)), all);
  EXPECT_EQ(bytes_to_gpt2_spelling(" a\n\xff"), "ĠaĊÿ");
  EXPECT_EQ(*gpt2_spelling_to_bytes("ĠÃ©"), " é");
  EXPECT_THAT(error_of(gpt2_spelling_to_bytes("漢")), HasSubstr("U+6F22"));
  EXPECT_THAT(error_of(gpt2_spelling_to_bytes("a b")), HasSubstr("U+0020"));
  EXPECT_THAT(error_of(gpt2_spelling_to_bytes("a\xff")), HasSubstr("not UTF-8"));
}

// --- Hugging Face ---

json tiny_json() { return json::parse(testdata("tiny_tokenizer.json")); }

Result<Vocabulary> read_json(const json& tokenizer, const std::string& tokenizer_config = "",
                             const std::string& generation_config = "",
                             const std::string& config = "", const std::string& jinja = "") {
  const std::string text = tokenizer.dump();
  return read_hf_vocabulary({text, tokenizer_config, generation_config, config, jinja}, "model");
}

TEST(HfJson, ReadsTheTinyVocabulary) {
  const auto read = read_json(tiny_json());
  ASSERT_TRUE(read.ok()) << read.status().message();
  const Vocabulary expected = tiny_vocabulary();
  expect_same_tokens(*read, expected);
  EXPECT_EQ(read->bos_id, kTinyNormal);
  EXPECT_THAT(read->eos_ids, ElementsAre(kTinyNormal + 1, kTinyNormal + 4, kTinyNormal + 5));
  EXPECT_TRUE(read->add_bos);
  EXPECT_FALSE(read->ignore_merges);
  ASSERT_EQ(read->merges.size(), expected.merges.size());
  for (std::size_t i = 0; i < expected.merges.size(); ++i) {
    EXPECT_EQ(read->merges[i].left, expected.merges[i].left);
    EXPECT_EQ(read->merges[i].right, expected.merges[i].right);
  }
}

TEST(HfJson, MergesAreStringsOrPairs) {
  json strings = tiny_json();
  for (json& merge : strings["model"]["merges"]) {
    merge = fmt::format("{} {}", merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  const auto a = read_json(tiny_json()), b = read_json(strings);
  ASSERT_TRUE(a.ok() && b.ok()) << error_of(b);
  EXPECT_EQ(Tokenizer::build(*a)->serialize(), Tokenizer::build(*b)->serialize());
}

TEST(HfJson, SettingsNameTheTokens) {
  const auto id = [](int special) { return std::to_string(kTinyNormal + special); };
  const auto read =
      read_json(tiny_json(),
                R"({"bos_token": {"content": "<|end_of_text|>"}, "eos_token": "<|eot_id|>",
          "add_bos_token": false, "chat_template": "T"})",
                R"({"eos_token_id": [)" + id(1) + ", " + id(2) + "]}",
                R"({"eos_token_id": 7, "bos_token_id": 8})");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->bos_id, kTinyNormal + 1);
  EXPECT_THAT(read->eos_ids,
              ElementsAre(kTinyNormal + 5, kTinyNormal + 1, kTinyNormal + 2, kTinyNormal + 4));
  EXPECT_FALSE(read->add_bos);
  EXPECT_EQ(read->chat_template, "T");
}

TEST(HfJson, ConfigSpeaksWhereGenerationConfigIsSilent) {
  const auto read = read_json(tiny_json(), "", "{}", R"({"eos_token_id": 7, "bos_token_id": 8})");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->bos_id, 8);
  EXPECT_EQ(read->eos_ids.front(), 7);
}

TEST(HfJson, ChatTemplatesComeInThreeForms) {
  const std::string list = R"({"chat_template": [{"name": "tool_use", "template": "A"},
                                                 {"name": "default", "template": "B"}]})";
  EXPECT_EQ(read_json(tiny_json(), list)->chat_template, "B");
  EXPECT_EQ(read_json(tiny_json(), list, "", "", "C")->chat_template, "C");
  EXPECT_EQ(read_json(tiny_json())->chat_template, "");
}

TEST(HfJson, AddedTokensMayBeTextAndLeaveHoles) {
  json file = tiny_json();
  file["added_tokens"].push_back({{"id", 300}, {"content", "<tab>"}, {"special", false}});
  const auto read = read_json(file);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->tokens.size(), 301u);
  EXPECT_EQ(read->tokens[300].kind, TokenKind::kAdded);
  EXPECT_EQ(read->tokens[299].kind, TokenKind::kUnused);
}

// Changes the good file in one way and expects an error that says so.
void expect_json_error(const char* pointer, const json& value, const char* error) {
  json file = tiny_json();
  file[json::json_pointer(pointer)] = value;
  EXPECT_THAT(error_of(read_json(file)), HasSubstr(error)) << pointer;
}

TEST(HfJson, RefusesOtherTokenizersByName) {
  expect_json_error("/model/type", "Unigram",
                    "unsupported: model/tokenizer.json: the model is Uni");
  expect_json_error("/model/byte_fallback", true, "byte_fallback");
  expect_json_error("/model/end_of_word_suffix", "</w>", "suffix");
  expect_json_error("/normalizer", {{"type", "NFC"}}, "normalizer NFC");
  expect_json_error("/pre_tokenizer", nullptr, "pre-tokenizer null");
  expect_json_error("/pre_tokenizer", {{"type", "Metaspace"}}, "pre-tokenizer Metaspace");
  expect_json_error("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\w+", "expression \\w+");
  expect_json_error("/pre_tokenizer/pretokenizers/0/behavior", "Removed", "options");
  expect_json_error("/pre_tokenizer/pretokenizers/1/use_regex", true, "options");
  expect_json_error("/pre_tokenizer/pretokenizers/1/add_prefix_space", true, "options");
  expect_json_error("/added_tokens/0/lstrip", true, "<|begin_of_text|>' has the option lstrip");
}

TEST(HfJson, RefusesBrokenFiles) {
  expect_json_error("/model", 5, "no \"model\"");
  expect_json_error("/model/vocab", json::array(), "no \"model.vocab\"");
  expect_json_error("/model/vocab/a", -1, "token id -1");
  expect_json_error("/model/vocab/a", "b", "token id string");
  expect_json_error("/model/vocab/a", 1.5, "token id");
  expect_json_error("/model/vocab/a", 98, "two tokens have the id 98");
  expect_json_error("/model/vocab/a", 1u << 30, "token id 1073741824");
  expect_json_error("/model/vocab/a", std::numeric_limits<std::uint64_t>::max(), "token id");
  expect_json_error("/model/vocab/漢", 400, "not in the spelling");
  expect_json_error("/model/merges", nullptr, "no \"model.merges\"");
  expect_json_error("/model/merges/0", "ab", "not two tokens");
  expect_json_error("/model/merges/0", json::array({"a"}), "neither");
  expect_json_error("/model/merges/0", "a nothere", "do not exist");
  expect_json_error("/added_tokens", 5, "no array");
  expect_json_error("/added_tokens/0/content", nullptr, "without content");
  expect_json_error("/added_tokens/0/id", nullptr, "token id null");
  EXPECT_THAT(error_of(read_hf_vocabulary({}, "m")), HasSubstr("m/tokenizer.json: not valid JSON"));
  EXPECT_THAT(error_of(read_json(tiny_json(), "{")), HasSubstr("tokenizer_config.json"));
  EXPECT_THAT(error_of(read_json(tiny_json(), "", R"({"eos_token_id": 9999})")),
              HasSubstr("generation_config.json: eos_token_id"));
  EXPECT_THAT(error_of(read_json(tiny_json(), "", "", R"({"bos_token_id": -3})")),
              HasSubstr("config.json: bos_token_id"));
}

// --- tiktoken ---

TEST(Tiktoken, ReadsTheTinyVocabulary) {
  const std::string file = testdata("tiny.tiktoken");
  EXPECT_TRUE(is_tiktoken(file));
  const auto read = read_tiktoken_vocabulary(file, "tokenizer.model");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->tokens.size(), static_cast<std::size_t>(kTinyNormal) + 256);
  EXPECT_EQ(read->bos_id, kTinyNormal);
  EXPECT_THAT(read->eos_ids, ElementsAre(kTinyNormal + 1, kTinyNormal + 8, kTinyNormal + 9));
  const auto by_rank = Tokenizer::build(*read), by_merge = Tokenizer::build(tiny_vocabulary());
  std::mt19937 random(21);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(random, 30);
    constexpr EncodeOptions kPlain = {.add_bos = false, .parse_special = false};
    ASSERT_EQ(*by_rank->encode(text, kPlain), *by_merge->encode(text, kPlain));
  }
}

TEST(Tiktoken, RefusesBrokenFiles) {
  const auto error = [](std::string_view text) {
    return error_of(read_tiktoken_vocabulary(text, "t.model"));
  };
  EXPECT_THAT(error(""), HasSubstr("no tokens"));
  EXPECT_THAT(error("IQ== 0\nIg== 2\n"), HasSubstr("line 2 has rank 2, expected 1"));
  for (const char* line :
       {"IQ==", "IQ= 0", "I*== 0", "IQ== x", "IQ== -1", "IQ== 0x", " 0", "IQ== 99999999999999"}) {
    EXPECT_THAT(error(line), HasSubstr("t.model: line 1 is not")) << line;
    EXPECT_FALSE(is_tiktoken(line)) << line;
  }
  EXPECT_FALSE(is_tiktoken(std::string(1 << 20, 'A')));
}

// --- llama2.c ---

Result<Vocabulary> read_llama2c(const std::string& file, std::int32_t n_vocab = -1) {
  return read_llama2c_vocabulary(std::as_bytes(std::span(file)), "tok.bin", n_vocab);
}

TEST(Llama2c, ReadsTheTinyVocabulary) {
  const auto read = read_llama2c(testdata("tiny_llama2c.bin"));
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->tokens[0].kind, TokenKind::kUnused);
  EXPECT_EQ(read->tokens[1].bytes, "<s>");
  EXPECT_EQ(read->tokens[3 + 'a'].bytes, "a");
  EXPECT_EQ(read->tokens[3 + 'a'].kind, TokenKind::kByte);
  EXPECT_EQ(read->bos_id, 1);
  EXPECT_THAT(read->eos_ids, ElementsAre(2));
  const auto tokenizer = Tokenizer::build(*read);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_THAT(*tokenizer->encode("the hello"),
              ElementsAre(1, *tokenizer->token_id(" the"), *tokenizer->token_id(" "),
                          *tokenizer->token_id("hello")));
}

TEST(Llama2c, RefusesBrokenFiles) {
  const std::string good = testdata("tiny_llama2c.bin");
  const auto with = [&](std::size_t at, auto value) {
    std::string file = good;
    std::memcpy(file.data() + at, &value, sizeof(value));
    return error_of(read_llama2c(file));
  };
  EXPECT_THAT(with(0, std::int32_t{0}), HasSubstr("longest token has 0"));
  EXPECT_THAT(with(0, std::int32_t{1 << 30}), HasSubstr("longest token"));
  EXPECT_THAT(with(0, std::int32_t{3}), HasSubstr("token 0 has 5 bytes"));
  EXPECT_THAT(with(4, std::numeric_limits<float>::quiet_NaN()), HasSubstr("score nan"));
  EXPECT_THAT(with(8, std::int32_t{-1}), HasSubstr("-1 bytes"));
  EXPECT_THAT(error_of(read_llama2c(good, 32000)), HasSubstr("the model has 32000"));
  const auto n_vocab = static_cast<std::int32_t>(read_llama2c(good)->tokens.size());
  EXPECT_TRUE(read_llama2c(good, n_vocab).ok());
  for (std::size_t size = 0; size < good.size(); ++size) {
    // Cut between two tokens it is a shorter vocabulary, and refused by the model's count.
    EXPECT_FALSE(read_llama2c(good.substr(0, size), n_vocab).ok()) << size;
  }
}

// --- GGUF ---

struct GgufArrays {
  std::vector<std::string> tokens, merges;
  std::vector<std::int32_t> types;
  std::vector<float> scores;
  GgufTokenizer view() const {
    GgufTokenizer gguf;
    gguf.model = "gpt2";
    gguf.pre = "llama-bpe";
    gguf.tokens = tokens;
    gguf.token_types = types;
    gguf.merges = merges;
    gguf.scores = scores;
    gguf.bos_id = kTinyNormal;
    gguf.eos_id = kTinyNormal + 5;
    gguf.chat_template = "T";
    return gguf;
  }
};

GgufArrays tiny_gguf() {
  const Vocabulary vocabulary = tiny_vocabulary();
  GgufArrays arrays;
  for (const Token& token : vocabulary.tokens) {
    const bool special = token.kind == TokenKind::kSpecial;
    arrays.tokens.push_back(special ? token.bytes : bytes_to_gpt2_spelling(token.bytes));
    arrays.types.push_back(special ? 3 : 1);
  }
  for (const auto& [left, right] : vocabulary.merges) {
    arrays.merges.push_back(fmt::format("{} {}", arrays.tokens[static_cast<std::size_t>(left)],
                                        arrays.tokens[static_cast<std::size_t>(right)]));
  }
  return arrays;
}

TEST(GgufVocabulary, ReadsTheTinyVocabulary) {
  const GgufArrays arrays = tiny_gguf();
  const auto read = read_gguf_vocabulary(arrays.view(), "m.gguf");
  ASSERT_TRUE(read.ok()) << read.status().message();
  const Vocabulary expected = tiny_vocabulary();
  expect_same_tokens(*read, expected);
  EXPECT_EQ(read->merges.size(), expected.merges.size());
  EXPECT_EQ(read->bos_id, kTinyNormal);
  EXPECT_THAT(read->eos_ids, ElementsAre(kTinyNormal + 5, kTinyNormal + 1, kTinyNormal + 4));
  EXPECT_TRUE(read->add_bos);
  EXPECT_EQ(read->chat_template, "T");
}

TEST(GgufVocabulary, ReadsSentencePiece) {
  GgufArrays arrays;
  arrays.tokens = {"<unk>", "<s>", "</s>"};
  arrays.types = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    arrays.tokens.push_back(fmt::format("<0x{:02X}>", byte));
    arrays.types.push_back(6);
  }
  for (const char* text : {"\u2581", "a", "\u2581a", "[x]"}) {
    arrays.tokens.push_back(text);
    arrays.types.push_back(1);
  }
  arrays.types.back() = 4;
  arrays.scores.assign(arrays.tokens.size(), 0);
  GgufTokenizer gguf = arrays.view();
  gguf.model = "llama";
  gguf.pre = "";
  gguf.bos_id = 1;
  gguf.eos_id = 2;
  const auto read = read_gguf_vocabulary(gguf, "m.gguf");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->tokens[259].bytes, " ");
  EXPECT_EQ(read->tokens[3 + 0x41].bytes, "A");
  const auto tokenizer = Tokenizer::build(*read);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_THAT(*tokenizer->encode("a[x]"), ElementsAre(1, 261, 262));
  arrays.tokens[3] = "<0xGG>";
  EXPECT_THAT(error_of(read_gguf_vocabulary(gguf, "m.gguf")), HasSubstr("<0xGG>"));
}

TEST(GgufVocabulary, RefusesWhatItCannotRead) {
  const auto error = [](auto change) {
    GgufArrays arrays = tiny_gguf();
    GgufTokenizer gguf;
    change(arrays, gguf);  // first the arrays, then what looks at them
    gguf = arrays.view();
    change(arrays, gguf);
    return error_of(read_gguf_vocabulary(gguf, "m.gguf"));
  };
  using A = GgufArrays;
  using G = GgufTokenizer;
  EXPECT_THAT(error([](A&, G& g) { g.model = "bert"; }), HasSubstr("unsupported: m.gguf: token"));
  EXPECT_THAT(error([](A&, G& g) { g.pre = "qwen2"; }), HasSubstr("'qwen2'"));
  EXPECT_THAT(error([](A&, G& g) { g.pre = ""; }), HasSubstr("only llama-bpe"));
  EXPECT_THAT(error([](A&, G& g) { g.tokens = {}; }), HasSubstr("missing or empty"));
  EXPECT_THAT(error([](A&, G& g) { g.merges = {}; }), HasSubstr("merges is missing"));
  EXPECT_THAT(error([](A&, G& g) { g.model = "llama"; }), HasSubstr("scores is missing"));
  EXPECT_THAT(error([](A& a, G&) { a.types.assign(3, 1); }), HasSubstr("3 token types"));
  EXPECT_THAT(error([](A& a, G&) { a.scores.assign(3, 1); }), HasSubstr("3 token scores"));
  EXPECT_THAT(error([](A& a, G&) { a.types[5] = 77; }), HasSubstr("type 77"));
  EXPECT_THAT(error([](A& a, G&) { a.tokens[5] = "漢"; }), HasSubstr("U+6F22"));
  EXPECT_THAT(error([](A& a, G&) { a.merges[0] = "th"; }), HasSubstr("'th' is not two"));
  EXPECT_THAT(error([](A& a, G&) { a.merges[0] = ""; }), HasSubstr("'' is not two"));
  EXPECT_THAT(error([](A& a, G&) { a.merges[0] = "a zzz"; }), HasSubstr("not two"));
  EXPECT_THAT(error([](A&, G& g) { g.bos_id = 9999; }), HasSubstr("bos_token_id is 9999"));
  EXPECT_THAT(error([](A&, G& g) { g.eos_id = -1; }), HasSubstr("eos_token_id is -1"));
}

}  // namespace
}  // namespace cria

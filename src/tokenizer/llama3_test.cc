// The real Llama 3 vocabulary, and other vocabularies that come as files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tokenizer/gpt2_bytes.h"
#include "tokenizer/hf_json.h"
#include "tokenizer/llama2c.h"
#include "tokenizer/llama3_tokens.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_testing.h"

namespace cria {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<std::int32_t>;

std::vector<std::string> split_at(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  for (std::size_t end; (end = text.find(separator, at)) != std::string::npos;) {
    parts.push_back(text.substr(at, end - at));
    at = end + separator.size();
  }
  if (at < text.size()) parts.push_back(text.substr(at));
  return parts;
}

Result<Tokenizer> tokenizer_of(Result<Vocabulary> vocabulary) {
  if (!vocabulary.ok()) return vocabulary.status();
  return Tokenizer::build(*vocabulary);
}

void expect_cases(const Tokenizer& tokenizer, const std::string& inputs,
                  const std::string& outputs) {
  const auto texts = split_at(inputs, "\n__ggml_vocab_test__\n");
  const auto lines = split_at(outputs, "\n");
  ASSERT_EQ(texts.size(), lines.size());
  ASSERT_GT(texts.size(), 40u);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Ids expected;
    std::istringstream numbers(lines[i]);
    for (std::int32_t id; numbers >> id;) expected.push_back(id);
    const auto ids = tokenizer.encode(texts[i], {.add_bos = false, .parse_special = false});
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    EXPECT_EQ(*ids, expected) << testing::PrintToString(texts[i]);
    EXPECT_EQ(tokenizer.decode(*ids), texts[i]);
  }
}

// The vocabulary again, from GPT-2's pair of files: spellings with ids, and a list of merges.
Result<Vocabulary> vocabulary_of_merges(const std::string& encoder, const std::string& merges) {
  auto json = nlohmann::json::parse(encoder);
  nlohmann::json added = nlohmann::json::array();
  const auto specials = llama3_special_tokens();
  for (std::size_t i = 0; i < specials.size(); ++i) {
    json.erase(specials[i]);
    added.push_back({{"id", 128000 + i}, {"content", specials[i]}, {"special", true}});
  }
  const nlohmann::json split = {{"type", "Split"},
                                {"pattern", {{"Regex", kLlama3Pattern}}},
                                {"behavior", "Isolated"},
                                {"invert", false}};
  const nlohmann::json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const nlohmann::json file = {
      {"added_tokens", added},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}},
      {"model",
       {{"type", "BPE"},
        {"vocab", json},
        {"merges", split_at(merges, "\n")},
        {"ignore_merges", true}}}};
  return read_hf_vocabulary({.tokenizer_json = file.dump()}, "test");
}

TEST(Llama3, RanksGiveTheReferenceIds) {
  CRIA_READ_OR_SKIP(ranks, shared_data("llama3/tokenizer.model"));
  CRIA_READ_OR_SKIP(inputs, shared_data("llama3/cases.inp"));
  CRIA_READ_OR_SKIP(outputs, shared_data("llama3/cases.out"));
  ASSERT_TRUE(is_tiktoken(ranks));
  const auto tokenizer = tokenizer_of(read_tiktoken_vocabulary(ranks, "tokenizer.model"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  expect_cases(*tokenizer, inputs, outputs);
  EXPECT_EQ(tokenizer->n_vocab(), 128256);
  EXPECT_EQ(tokenizer->bos_id(), 128000);
  EXPECT_THAT(tokenizer->eos_ids(), ElementsAre(128001, 128008, 128009));
  EXPECT_EQ(tokenizer->token_id("<|finetune_right_pad_id|>"), 128004);
  EXPECT_EQ(tokenizer->token_id("<|start_header_id|>"), 128006);
  EXPECT_EQ(tokenizer->token_id("<|eot_id|>"), 128009);
  EXPECT_EQ(tokenizer->token_id("<|python_tag|>"), 128010);
  EXPECT_EQ(tokenizer->token_id("<|reserved_special_token_247|>"), 128255);
  const auto ids = tokenizer->encode("Hello<|eot_id|>");
  ASSERT_TRUE(ids.ok());
  EXPECT_THAT(*ids, ElementsAre(128000, 9906, 128009));
  EXPECT_LT(tokenizer->serialize().size(), 3'600'000u);  // a part of every compiled model
}

TEST(Llama3, MergesGiveTheSameIdsAsRanks) {
  CRIA_READ_OR_SKIP(ranks, shared_data("llama3/tokenizer.model"));
  CRIA_READ_OR_SKIP(encoder, shared_data("llama3/encoder.json"));
  CRIA_READ_OR_SKIP(merges, shared_data("llama3/vocab.bpe"));
  CRIA_READ_OR_SKIP(inputs, shared_data("llama3/cases.inp"));
  CRIA_READ_OR_SKIP(outputs, shared_data("llama3/cases.out"));
  const auto by_rank = tokenizer_of(read_tiktoken_vocabulary(ranks, "tokenizer.model"));
  const auto by_merge = tokenizer_of(vocabulary_of_merges(encoder, merges));
  ASSERT_TRUE(by_rank.ok() && by_merge.ok()) << by_merge.status().message();
  expect_cases(*by_merge, inputs, outputs);
  EXPECT_LT(by_merge->serialize().size(), 4'000'000u);
  EXPECT_EQ(by_merge->n_vocab(), by_rank->n_vocab());
  EXPECT_EQ(by_merge->bos_id(), by_rank->bos_id());
  EXPECT_EQ(by_merge->eos_ids(), by_rank->eos_ids());
  for (std::int32_t id = 0; id < by_rank->n_vocab(); ++id) {
    ASSERT_EQ(by_merge->token_bytes(id), by_rank->token_bytes(id)) << id;
  }
  std::mt19937 random(11);
  for (int i = 0; i < 5000; ++i) {
    const std::string text = random_text(random, 40);
    const auto a = by_rank->encode(text), b = by_merge->encode(text);
    ASSERT_EQ(*a, *b) << testing::PrintToString(text);
  }
}

TEST(Llama3, RoundTripsAWholeBook) {
  CRIA_READ_OR_SKIP(ranks, shared_data("llama3/tokenizer.model"));
  CRIA_READ_OR_SKIP(text, shared_data("text/wikitext2-test.txt"));
  const auto tokenizer = tokenizer_of(read_tiktoken_vocabulary(ranks, "tokenizer.model"));
  ASSERT_TRUE(tokenizer.ok());
  const auto ids = tokenizer->encode(text, {.add_bos = false, .parse_special = false});
  ASSERT_TRUE(ids.ok());
  EXPECT_LT(ids->size(), text.size() / 4);
  EXPECT_EQ(tokenizer->decode(*ids), text);
}

TEST(Llama2c, ReadsTheTokenizerOfTheStories) {
  CRIA_READ_OR_SKIP(file, shared_data("stories260k/tok512.bin"));
  CRIA_READ_OR_SKIP(story, shared_data("stories260k/golden-greedy-256.txt"));
  const auto tokenizer =
      tokenizer_of(read_llama2c_vocabulary(std::as_bytes(std::span(file)), "tok512.bin", 512));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ(tokenizer->n_vocab(), 512);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_THAT(tokenizer->eos_ids(), ElementsAre(2));
  const auto ids = tokenizer->encode(story);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(tokenizer->decode(*ids), story);
  EXPECT_LT(ids->size(), story.size() / 2);  // merges happen
  // The first ids that the reference program makes of this text.
  EXPECT_THAT(*tokenizer->encode("Once upon a time"), ElementsAre(1, 403, 407, 261, 378));
}

TEST(CriaTiny, TheShippedTokenizerRoundTrips) {
  const std::string folder = CRIA_SOURCE_DIR "/models/cria-tiny/";
  CRIA_READ_OR_SKIP(tokenizer_json, folder + "tokenizer.json");
  const auto optional = [&](const char* name) {
    return read_text_file(folder + name).value_or("");
  };
  const std::string tokenizer_config = optional("tokenizer_config.json");
  const std::string generation_config = optional("generation_config.json");
  const auto tokenizer = tokenizer_of(
      read_hf_vocabulary({tokenizer_json, tokenizer_config, generation_config, "", ""}, folder));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_GE(tokenizer->bos_id(), 0);
  EXPECT_FALSE(tokenizer->eos_ids().empty());
  std::mt19937 random(12);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(random, 40);
    const auto ids = tokenizer->encode(text, {.add_bos = false});
    ASSERT_TRUE(ids.ok());
    ASSERT_EQ(tokenizer->decode(*ids, true), text);
  }
}

}  // namespace
}  // namespace cria

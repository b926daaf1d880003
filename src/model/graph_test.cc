#include "model/graph.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ir/evaluate_for_test.h"
#include "ir/text.h"
#include "ir/verify.h"

namespace cria {
namespace {

LlamaConfig small_config() {
  LlamaConfig config;
  config.n_layers = 2;
  config.hidden = 32;
  config.ffn = 48;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 8;
  config.n_vocab = 40;
  config.max_context = 64;
  config.rope_inverse_frequencies = {1.0f, 0.3f, 0.1f, 0.03f};
  return config;
}

ir::Graph build(const LlamaConfig& config, bool all_logits) {
  Result<ir::Graph> graph = build_llama_graph(config, {"forward", all_logits});
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  return *graph;
}

TEST(LlamaGraph, IsWellFormedAndPrintable) {
  const ir::Graph graph = build(small_config(), false);
  ASSERT_TRUE(ir::verify(graph).ok());
  const Result<ir::Graph> again = ir::parse_graph(ir::print_graph(graph));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(*again, graph);
}

TEST(LlamaGraph, NamesEveryWeightOnceWithItsShape) {
  const ir::Graph graph = build(small_config(), false);
  // 9 a layer, embedding (tied), output norm, rope frequencies.
  EXPECT_EQ(graph.weights.size(), 2u * 9 + 3);
  const auto find = [&](const std::string& name) {
    return std::find_if(graph.weights.begin(), graph.weights.end(),
                        [&](const ir::Weight& w) { return w.name == name; });
  };
  EXPECT_EQ(*find("blk.1.attn_k.weight"), (ir::Weight{"blk.1.attn_k.weight", 16, 32}));
  EXPECT_EQ(*find("blk.1.ffn_down.weight"), (ir::Weight{"blk.1.ffn_down.weight", 32, 48}));
  EXPECT_EQ(find("output.weight"), graph.weights.end());
}

TEST(LlamaGraph, AnUntiedHeadIsItsOwnWeight) {
  LlamaConfig config = small_config();
  config.tied_embeddings = false;
  const ir::Graph graph = build(config, false);
  EXPECT_TRUE(std::any_of(graph.weights.begin(), graph.weights.end(), [](const ir::Weight& w) {
    return w == ir::Weight{"output.weight", 40, 32};
  }));
}

TEST(LlamaGraph, AllLogitsEndWithTheLastLogits) {
  const LlamaConfig config = small_config();
  const ir::Graph last = build(config, false);
  const ir::Graph all = build(config, true);
  const ir::WeightTable weights = ir::random_weights(last, 3);
  ir::CacheTable cache_last, cache_all;
  const ir::Matrix one = ir::evaluate(last, weights, cache_last, {1, 2, 3}, 0);
  const ir::Matrix three = ir::evaluate(all, weights, cache_all, {1, 2, 3}, 0);
  ASSERT_EQ(one.n_rows, 1);
  ASSERT_EQ(three.n_rows, 3);
  for (std::int64_t i = 0; i < config.n_vocab; ++i) EXPECT_EQ(one.at(0, i), three.at(2, i));
}

TEST(LlamaGraph, RefusesABadConfig) {
  LlamaConfig config = small_config();
  config.n_kv_heads = 3;
  const Result<ir::Graph> graph = build_llama_graph(config, {});
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.status().code(), ErrorCode::kBadInput);
}

}  // namespace
}  // namespace cria

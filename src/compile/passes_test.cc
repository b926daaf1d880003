// Every pass keeps the meaning of every graph: model graphs, graphs in which a pattern almost
// matches, and random ones.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "compile/fuse_gate_up.h"
#include "compile/fuse_qkv.h"
#include "compile/fuse_residual.h"
#include "compile/fuse_rms_norm.h"
#include "compile/lower.h"
#include "compile/remove_dead.h"
#include "ir/builder.h"
#include "ir/evaluate_for_test.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "model/graph.h"

namespace cria {
namespace {

using ir::OpKind;
using ir::ValueId;

struct NamedPass {
  const char* name;
  int (*run)(ir::Graph&);
};
const NamedPass kPasses[] = {{"fuse_rms_norm", fuse_rms_norm},
                             {"fuse_qkv", fuse_qkv},
                             {"fuse_gate_up", fuse_gate_up},
                             {"fuse_residual", fuse_residual},
                             {"remove_dead", remove_dead}};

LlamaConfig config_of(int n_heads, int n_kv_heads, bool tied) {
  LlamaConfig config;
  config.n_layers = 2;
  config.head_dim = 8;
  config.n_heads = n_heads;
  config.n_kv_heads = n_kv_heads;
  config.hidden = 24;
  config.ffn = 40;
  config.n_vocab = 30;
  config.max_context = 64;
  config.tied_embeddings = tied;
  config.rope_inverse_frequencies = {1.0f, 0.3f, 0.1f, 0.03f};
  return config;
}

// Three calls on one cache: a prompt, a token, a chunk.
std::vector<double> run(const ir::Graph& graph) {
  const ir::WeightTable weights = ir::random_weights(graph, 11);
  ir::CacheTable cache;
  std::vector<double> all;
  std::int64_t position = 0;
  for (const std::vector<std::int64_t>& tokens :
       {std::vector<std::int64_t>{1, 5, 2, 9}, {3}, {7, 0}}) {
    const ir::Matrix out = ir::evaluate(graph, weights, cache, tokens, position);
    all.insert(all.end(), out.elements.begin(), out.elements.end());
    position += static_cast<std::int64_t>(tokens.size());
  }
  return all;
}

// The passes reorder no sum, so double results agree to the last bits; 1e-12 leaves room for the
// residual being added to a sum instead of a sum to the residual.
void expect_same_meaning(const ir::Graph& before, const ir::Graph& after, const std::string& what) {
  ASSERT_TRUE(ir::verify(after).ok()) << what << ": " << ir::verify(after).message();
  const std::vector<double> expected = run(before);
  const std::vector<double> found = run(after);
  ASSERT_EQ(expected.size(), found.size()) << what;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(expected[i], found[i], 1e-12 * (1 + std::abs(expected[i]))) << what;
  }
}

int count(const ir::Graph& graph, OpKind kind) {
  int n = 0;
  for (const ir::Op& op : graph.ops) n += op.kind == kind ? 1 : 0;
  return n;
}

std::vector<ir::Graph> model_graphs() {
  std::vector<ir::Graph> graphs;
  for (const bool all_logits : {false, true}) {
    for (const auto& [n_heads, n_kv_heads] : {std::pair{4, 2}, {3, 1}, {2, 2}}) {
      Result<ir::Graph> graph =
          build_llama_graph(config_of(n_heads, n_kv_heads, all_logits), {"m", all_logits});
      EXPECT_TRUE(graph.ok()) << graph.status().message();
      graphs.push_back(std::move(*graph));
    }
  }
  return graphs;
}

// Straight code over values of one width with every pattern and every near miss: shared
// sub-expressions, projections of different values, products of two silus, sums of two linears.
class RandomGraph {
 public:
  explicit RandomGraph(std::uint32_t seed) : random_(seed), b_("random") {}

  ir::Graph build() {
    const ValueId tokens = b_.input("tokens", {ir::DType::kI64, {ir::kTokens}});
    position_ = b_.input("position", {ir::DType::kI64, {1}});
    pool_ = {b_.embed("v", tokens, b_.weight("table", 10, 16))};
    for (int i = 0; i < 30; ++i) {
      pool_.push_back(random_op());
      // Keeps numbers near 1 however many products there are.
      if (i % 4 == 0) pool_.push_back(b_.rms_normalize(name(), pool_.back(), 1e-5f));
    }
    b_.output(pool_.back());
    Result<ir::Graph> graph = b_.finish();
    EXPECT_TRUE(graph.ok()) << graph.status().message();
    return std::move(*graph);
  }

 private:
  std::string name() { return fmt::format("v{}", n_names_++); }
  ValueId pick() {
    return pool_[pool_.size() - 1 - random_() % std::min<std::size_t>(pool_.size(), 4)];
  }
  ValueId mostly(ValueId x) { return random_() % 4 == 0 ? pick() : x; }
  ValueId linear(ValueId x) {
    return b_.linear(name(), x, b_.weight(fmt::format("w{}", random_() % 5), 16, 16));
  }

  ValueId random_op() {
    switch (random_() % 8) {
      case 0:
        return b_.rms_normalize(name(), pick(), 1e-5f);
      case 1:
        return b_.scale(name(), pick(), b_.vector(fmt::format("g{}", random_() % 3), 16));
      case 2:
        return linear(pick());
      case 3:
        return b_.silu(name(), pick());
      case 4:
        return b_.mul(name(), pick(), pick());
      case 5:
        return b_.add(name(), pick(), pick());
      case 6: {
        const ValueId x = pick();
        return b_.mul(name(), b_.silu(name(), linear(x)), linear(mostly(x)));
      }
      default:
        return attention(pick());
    }
  }

  ValueId rope(ValueId x) {
    return b_.append(
        name(),
        {OpKind::kRope, {x, position_}, {b_.vector("f", 4)}, {}, {.n_heads = 2, .head_dim = 8}});
  }

  ValueId attention(ValueId x) {
    const ValueId q = linear(x), k = linear(mostly(x)), v = mostly(linear(x));
    b_.append("", {OpKind::kKvAppend,
                   {rope(k), v, position_},
                   {},
                   {},
                   {.layer = layer_, .n_kv_heads = 2, .head_dim = 8}});
    return b_.append(
        name(), {OpKind::kAttention,
                 {mostly(rope(q)), position_},
                 {},
                 {},
                 {.scale = 0.3f, .layer = layer_++, .n_heads = 2, .n_kv_heads = 2, .head_dim = 8}});
  }

  std::mt19937 random_;
  ir::Builder b_;
  std::vector<ValueId> pool_;
  ValueId position_ = 0;
  std::int64_t layer_ = 0;
  int n_names_ = 0;
};

TEST(Passes, EachKeepsTheMeaningOfModels) {
  for (const ir::Graph& graph : model_graphs()) {
    for (const NamedPass& pass : kPasses) {
      ir::Graph after = graph;
      pass.run(after);
      expect_same_meaning(graph, after, pass.name);
    }
  }
}

TEST(Passes, EachAndAllKeepTheMeaningOfRandomGraphs) {
  int n_rewritten[std::size(kPasses)] = {};
  for (std::uint32_t seed = 0; seed < 150; ++seed) {
    const ir::Graph graph = RandomGraph(seed).build();
    for (std::size_t i = 0; i < std::size(kPasses); ++i) {
      ir::Graph after = graph;
      n_rewritten[i] += kPasses[i].run(after);
      expect_same_meaning(graph, after, fmt::format("{}, seed {}", kPasses[i].name, seed));
    }
    ir::Graph after = graph;
    ASSERT_TRUE(lower(after).ok());
    expect_same_meaning(graph, after, fmt::format("lower, seed {}", seed));
  }
  // A test in which nothing is ever rewritten would prove nothing.
  for (std::size_t i = 0; i < std::size(kPasses); ++i) {
    EXPECT_GT(n_rewritten[i], 10) << kPasses[i].name;
  }
}

TEST(Lower, LeavesOnlyFusedOps) {
  for (const ir::Graph& graph : model_graphs()) {
    ir::Graph after = graph;
    ASSERT_TRUE(lower(after).ok());
    expect_same_meaning(graph, after, "lower");
    EXPECT_EQ(count(after, OpKind::kRmsNormalize), 0);
    EXPECT_EQ(count(after, OpKind::kRmsNorm), 2 * 2 + 1);
    EXPECT_EQ(count(after, OpKind::kMul), 0);
    EXPECT_EQ(count(after, OpKind::kSilu), 0);
    EXPECT_EQ(count(after, OpKind::kAdd), 0);
    EXPECT_EQ(count(after, OpKind::kSwiGlu), 2);
    EXPECT_EQ(count(after, OpKind::kLinear), 2 * 4 + 1);  // qkv, output, gate+up, down; head
    EXPECT_EQ(count(after, OpKind::kSlice), 2 * 3);
  }
}

TEST(Lower, TracesEveryPassWithTextThatParses) {
  ir::Graph graph = model_graphs().front();
  std::vector<std::string> names;
  const Status status = lower(graph, [&](std::string_view pass, const std::string& text) {
    names.emplace_back(pass);
    EXPECT_TRUE(ir::parse_graph(text).ok()) << text;
  });
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(names, (std::vector<std::string>{"model", "fuse_rms_norm", "fuse_qkv", "fuse_gate_up",
                                             "fuse_residual", "remove_dead"}));
}

TEST(Lower, IsIdempotent) {
  ir::Graph graph = model_graphs().front();
  ASSERT_TRUE(lower(graph).ok());
  ir::Graph again = graph;
  ASSERT_TRUE(lower(again).ok());
  EXPECT_EQ(graph, again);
}

TEST(FuseQkv, LeavesProjectionsOfDifferentValuesAlone) {
  const auto graph = ir::parse_graph(R"(graph g {
  weight t: 10 x 8
  weight q: 8 x 8
  weight k: 8 x 8
  weight v: 8 x 8
  input %tokens: i64[S]
  input %position: i64[1]
  %x: f32[S, 8] = embed(%tokens; t)
  %y: f32[S, 8] = silu(%x)
  %q: f32[S, 8] = linear(%x; q)
  %k: f32[S, 8] = linear(%x; k)
  %v: f32[S, 8] = linear(%y; v)
  kv_append(%k, %v, %position) {layer=0, n_kv_heads=1, head_dim=8}
  %a: f32[S, 8] = attention(%q, %position) {layer=0, n_heads=1, n_kv_heads=1, head_dim=8, scale=1}
  output(%a)
})");
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  ir::Graph after = *graph;
  EXPECT_EQ(fuse_qkv(after), 0);
  EXPECT_EQ(after, *graph);
}

TEST(FuseResidual, KeepsALinearThatIsUsedTwice) {
  const auto graph = ir::parse_graph(R"(graph g {
  weight t: 10 x 8
  weight w: 8 x 8
  input %tokens: i64[S]
  input %position: i64[1]
  %x: f32[S, 8] = embed(%tokens; t)
  %y: f32[S, 8] = linear(%x; w)
  %z: f32[S, 8] = add(%y, %y)
  output(%z)
})");
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  ir::Graph after = *graph;
  EXPECT_EQ(fuse_residual(after), 0);
}

}  // namespace
}  // namespace cria

#include <gtest/gtest.h>

#include <string>

#include "ir/builder.h"
#include "ir/evaluate_for_test.h"
#include "ir/rewrite.h"
#include "ir/text.h"
#include "ir/verify.h"

namespace cria::ir {
namespace {

// One of every op kind, in the exact form that print_graph writes.
constexpr const char* kEveryOp = R"(graph every_op {
  weight token_embd.weight: 10 x 16
  weight norm: 1 x 16
  weight a: 16 x 16
  weight b: 8 x 16
  weight frequencies: 1 x 4
  input %tokens: i64[S]
  input %position: i64[1]
  %h: f32[S, 16] = embed(%tokens; token_embd.weight)
  %n: f32[S, 16] = rms_normalize(%h) {epsilon=1e-05}
  %g: f32[S, 16] = mul(%n; norm)
  %qkv: f32[S, 32] = linear(%g; a, b, b)
  %q: f32[S, 16] = slice(%qkv) {column=0, width=16}
  %k: f32[S, 8] = slice(%qkv) {column=16, width=8}
  %v: f32[S, 8] = slice(%qkv) {column=24, width=8}
  %qr: f32[S, 16] = rope(%q, %position; frequencies) {n_heads=2, head_dim=8}
  %kr: f32[S, 8] = rope(%k, %position; frequencies) {n_heads=1, head_dim=8}
  kv_append(%kr, %v, %position) {layer=0, n_kv_heads=1, head_dim=8}
  %att: f32[S, 16] = attention(%qr, %position) {layer=0, n_heads=2, n_kv_heads=1, head_dim=8, scale=0.35355338}
  %h2: f32[S, 16] = linear(%att, %h; a)
  %n2: f32[S, 16] = rms_norm(%h2; norm) {epsilon=1e-05}
  %r: f32[S, 16] = hadamard(%n2; norm) {block=16, inverse=0}
  %r2: f32[S, 16] = hadamard(%r; norm) {block=8, inverse=1}
  %s: f32[S, 16] = silu(%r2)
  %m: f32[S, 16] = mul(%s, %n2)
  %h3: f32[S, 16] = add(%h2, %m)
  %w: f32[S, 8] = swiglu(%h3)
  %last: f32[1, 8] = last_row(%w)
  output(%last)
}
)";

// Replaces the first `from` of the text above, so that each error test is one line.
std::string with(const std::string& from, const std::string& to) {
  std::string text = kEveryOp;
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

void expect_error(const std::string& text, const std::string& message) {
  const Result<Graph> graph = parse_graph(text);
  ASSERT_FALSE(graph.ok()) << text;
  EXPECT_EQ(graph.status().code(), ErrorCode::kBadInput);
  EXPECT_NE(graph.status().message().find(message), std::string::npos) << graph.status().message();
}

TEST(Text, PrintOfParseIsTheText) {
  const Result<Graph> graph = parse_graph(kEveryOp);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_EQ(print_graph(*graph), kEveryOp);
}

TEST(Text, ParseOfPrintIsTheGraph) {
  const Result<Graph> graph = parse_graph(kEveryOp);
  ASSERT_TRUE(graph.ok());
  const Result<Graph> again = parse_graph(print_graph(*graph));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*graph, *again);
}

TEST(Text, SpaceAndCommentsAreFree) {
  const Result<Graph> graph = parse_graph(with("  %h:", "# made of tokens\n\n\t%h :"));
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_EQ(print_graph(*graph), kEveryOp);
}

TEST(Text, ErrorsSayWhereAndWhat) {
  expect_error("", "expected graph");
  expect_error("graph x {", "expected a statement");
  expect_error(std::string(kEveryOp) + "more", "text after the graph's end");
  expect_error(with("silu(", "sigmoid("), "'sigmoid' is not an op");
  expect_error(with("embed(%tokens", "embed(%token"), "%token is not made before");
  expect_error(with("; norm)", "; gamma)"), "weight gamma is not declared");
  expect_error(with("10 x 16", "10 x 16k"), "'16k' is not a number");
  expect_error(with("10 x 16", "99999999999999999999 x 16"), "is not a number");
  expect_error(with("%n: f32", "%h: f32"), "%h is made twice");
  expect_error(with("weight norm", "weight a"), "weight a is named twice");
  expect_error(with("f32[S, 16] = embed", "f16[S, 16] = embed"), "'f16' is not a type");
  expect_error(with("[S, 16] = embed", "[S, 0] = embed"), "dimension 0");
  expect_error(with("{epsilon=1e-05}", "{epsilon=1e-05, epsilon=1}"), "given twice");
  expect_error(with("{epsilon=1e-05}", "{layer=0}"), "has no attribute layer");
  expect_error(with("{epsilon=1e-05}", "{epsilon=1e-05"), "line 11");
  expect_error(with("{epsilon=1e-05}", "{colour=1}"), "'colour' is not an attribute");
}

TEST(Verify, EveryRule) {
  expect_error(with("output(%last)", ""), "0 output ops");
  expect_error(with("output(%last)", "output(%last)\n output(%last)"), "2 output ops");
  expect_error(with("%last: f32[1, 8]", "%last: f32[S, 8]"), "last_row makes f32[1, 8]");
  expect_error(with("embed(%tokens;", "embed(%position, %tokens;"), "has 2 inputs");
  expect_error(with("rms_norm(%h2; norm)", "rms_norm(%h2)"), "has 0 weights");
  expect_error(with("rms_norm(%h2; norm)", "rms_norm(%h2; a)"), "expected 1 x 16");
  expect_error(with("mul(%s, %n2)", "mul(%s)"), "takes 1 operands");
  expect_error(with("add(%h2, %m)", "add(%h2, %k)"), "expected equal types");
  expect_error(with("linear(%g; a, b, b)", "linear(%v; a, b, b)"), "is not made before");
  expect_error(with("linear(%att, %h; a)", "linear(%kr, %h; a)"), "multiplies 8 columns");
  expect_error(with("linear(%att, %h; a)", "linear(%att, %kr; a)"), "expected equal types");
  expect_error(with("{column=24, width=8}", "{column=25, width=8}"), "takes columns 25 to 33");
  expect_error(with("rope(%q, %position", "rope(%q, %tokens"), "expected i64[1]");
  expect_error(with("{n_heads=2, head_dim=8}", "{n_heads=4, head_dim=4}"), "expected 1 x 2");
  expect_error(with("{n_heads=2, head_dim=8}", "{n_heads=2, head_dim=4}"), "2 heads of 4");
  expect_error(
      with("kv_append(%kr, %v, %position) {layer=0,", "kv_append(%kr, %v, %position) {layer=1,"),
      "before its kv_append");
  expect_error(with("  %att:",
                    "  kv_append(%kr, %v, %position) {layer=0, n_kv_heads=1, head_dim=8}\n  %att:"),
               "a second kv_append");
  expect_error(with("layer=0, n_heads=2, n_kv_heads=1, head_dim=8",
                    "layer=0, n_heads=4, n_kv_heads=1, head_dim=4"),
               "the cache has 1 of 8");
  expect_error(with("scale=0.35355338", "scale=nan"), "scale = nan");
  expect_error(with("hadamard(%n2; norm)", "hadamard(%n2; a)"), "expected 1 x 16");
  expect_error(with("block=16", "block=12"), "expected a power of two that divides the 16 columns");
  expect_error(with("block=16", "block=32"), "expected a power of two that divides the 16 columns");
  expect_error(with("block=16", "block=0"), "has block = 0");
  expect_error(with("inverse=1", "inverse=2"), "has inverse = 2, expected 0 or 1");
  expect_error(with("silu(%r2)", "silu(%tokens)"), "expected f32[rows, width]");
  expect_error(with("embed(%tokens;", "embed(%n;"), "%n is not made before");
  expect_error(with("output(%last)", "%x: f32[1, 8] = output(%last)"), "must not make a value");
  expect_error(with("weight norm: 1 x 16", "weight norm: 1 x -16"), "expected 1 to 2^40");
  expect_error(with("graph every_op", "graph every-op"), "not legal");
}

TEST(Verify, ValuesThatNobodyMakesAndIdsOutOfRange) {
  Result<Graph> graph = parse_graph(kEveryOp);
  ASSERT_TRUE(graph.ok());
  Graph orphan = *graph;
  orphan.values.push_back({"orphan", {DType::kF32, {1, 1}}});
  EXPECT_FALSE(verify(orphan).ok());
  Graph bad_value = *graph;
  bad_value.ops[1].inputs[0] = 1000;
  EXPECT_FALSE(verify(bad_value).ok());
  Graph bad_weight = *graph;
  bad_weight.ops[0].weights[0] = 1000;
  EXPECT_FALSE(verify(bad_weight).ok());
  Graph bad_input = *graph;
  bad_input.inputs[0] = 1000;
  EXPECT_FALSE(verify(bad_input).ok());
}

TEST(Builder, KeepsTheFirstMistake) {
  Builder b("method");
  const ValueId tokens = b.input("tokens", {DType::kI64, {kTokens}});
  const ValueId h = b.embed("h", tokens, b.weight("table", 10, 16));
  const ValueId bad = b.linear("bad", h, b.weight("narrow", 4, 8));
  b.output(b.add("sum", bad, h));
  const Result<Graph> graph = b.finish();
  ASSERT_FALSE(graph.ok());
  EXPECT_NE(graph.status().message().find("bad: "), std::string::npos) << graph.status().message();
}

TEST(Builder, AWeightHasOneShape) {
  Builder b("method");
  EXPECT_EQ(b.weight("w", 4, 8), b.weight("w", 4, 8));
  b.weight("w", 8, 4);
  const ValueId tokens = b.input("tokens", {DType::kI64, {kTokens}});
  b.output(b.embed("h", tokens, b.weight("w", 4, 8)));
  EXPECT_FALSE(b.finish().ok());
}

TEST(Rewrite, DropOpsRenumbersAndKeepsTheRest) {
  Result<Graph> parsed = parse_graph(kEveryOp);
  ASSERT_TRUE(parsed.ok());
  Graph graph = std::move(*parsed);
  const std::vector<std::size_t> maker = makers(graph);
  std::vector<bool> dropped(graph.ops.size(), false);
  const auto id_of = [&](const std::string& name) {
    ValueId id = 0;
    while (graph.values[id].name != name) ++id;
    return id;
  };
  replace_uses(graph, id_of("m"), id_of("s"));
  dropped[maker[id_of("m")]] = true;
  EXPECT_EQ(use_counts(graph)[id_of("m")], 0u);
  drop_ops(graph, dropped);
  ASSERT_TRUE(verify(graph).ok()) << verify(graph).message();
  EXPECT_EQ(print_graph(graph).find("%m"), std::string::npos);
  EXPECT_NE(print_graph(graph).find("add(%h2, %s)"), std::string::npos);
  EXPECT_EQ(graph.values[add_value(graph, "h", {DType::kF32, {1, 1}})].name, "h.1");
}

// Two tokens at once equal one after the other: the evaluator's cache and causality, without which
// the tests of the passes would mean little.
TEST(Evaluate, ChunksEqualSingleTokens) {
  const Result<Graph> graph = parse_graph(kEveryOp);
  ASSERT_TRUE(graph.ok());
  const WeightTable weights = random_weights(*graph, 7);
  CacheTable whole_cache, step_cache;
  const Matrix whole = evaluate(*graph, weights, whole_cache, {3, 1, 4}, 0);
  Matrix step;
  const std::vector<std::int64_t> tokens = {3, 1, 4};
  for (std::int64_t i = 0; i < 3; ++i) step = evaluate(*graph, weights, step_cache, {tokens[i]}, i);
  ASSERT_EQ(whole.elements.size(), 8u);
  for (std::size_t i = 0; i < whole.elements.size(); ++i) {
    EXPECT_NEAR(whole.elements[i], step.elements[i], 1e-12);
  }
}

}  // namespace
}  // namespace cria::ir

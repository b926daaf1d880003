#include "targets/cpu/cpu_target.h"

#include <gtest/gtest.h>

#include <cmath>

#include "format/plan/plan.h"
#include "ir/evaluate_for_test.h"
#include "ir/text.h"
#include "targets/lower_to_plan.h"
#include "targets/null/null_target.h"

namespace cria {
namespace {

// Runs a plan in double precision, in a scratch area that is shared as the plan says: a buffer that
// is overwritten too early shows as a wrong result.
class PlanEvaluator {
 public:
  PlanEvaluator(const Plan& plan, const ir::WeightTable& weights)
      : plan_(plan), weights_(weights), scratch_(plan.scratch_bytes / sizeof(float), NAN) {}

  ir::Matrix run(const std::vector<std::int64_t>& tokens, std::int64_t position) {
    tokens_ = tokens;
    position_ = position;
    for (const PlanOp& op : plan_.ops) {
      if (op.kind == PlanOpKind::kOutput) return get(op.x);
      apply(op);
    }
    return {};
  }

 private:
  std::int64_t n_rows(std::uint32_t id) const {
    return plan_.buffers[id].single_row ? 1 : static_cast<std::int64_t>(tokens_.size());
  }
  ir::Matrix get(std::uint32_t id) const {
    ir::Matrix matrix(n_rows(id), plan_.buffers[id].width);
    const auto begin = scratch_.begin() + plan_.buffers[id].offset_bytes / sizeof(float);
    std::copy(begin, begin + matrix.elements.size(), matrix.elements.begin());
    return matrix;
  }
  void put(std::uint32_t id, const ir::Matrix& matrix) {
    ASSERT_EQ(matrix.n_rows, n_rows(id));
    ASSERT_EQ(matrix.n_cols, plan_.buffers[id].width);
    std::copy(matrix.elements.begin(), matrix.elements.end(),
              scratch_.begin() + plan_.buffers[id].offset_bytes / sizeof(float));
  }
  const ir::Matrix& weight(const PlanOp& op, std::size_t i) const {
    return weights_.at(plan_.weights[op.weights[i]].key);
  }

  void apply(const PlanOp& op) {
    const std::int64_t head_dim = plan_.kv.head_dim;
    const std::int64_t kv_width = head_dim * plan_.kv.n_kv_heads;
    switch (op.kind) {
      case PlanOpKind::kEmbed: {
        ir::Matrix out(n_rows(op.out), plan_.buffers[op.out].width);
        for (std::int64_t row = 0; row < out.n_rows; ++row) {
          for (std::int64_t i = 0; i < out.n_cols; ++i) {
            out.at(row, i) = weight(op, 0).at(tokens_[row], i);
          }
        }
        return put(op.out, out);
      }
      case PlanOpKind::kRmsNorm: {
        ir::Matrix out = ir::rms_normalize(get(op.x), op.epsilon);
        return put(op.out, combine(out, weight(op, 0), std::multiplies<double>()));
      }
      case PlanOpKind::kLinear:
        return linear(op);
      case PlanOpKind::kRope: {
        ir::Matrix out = get(op.out);
        ir::rotate_heads(out, op.column, op.n_heads, weight(op, 0), position_);
        return put(op.out, out);
      }
      case PlanOpKind::kKvAppend:
        return ir::append_rows(cache_[op.layer], ir::columns(get(op.x), op.column, kv_width),
                               ir::columns(get(op.x), op.column_v, kv_width), position_);
      case PlanOpKind::kAttention:
        return put(
            op.out,
            ir::attend(ir::columns(get(op.x), op.column, op.n_heads * head_dim), cache_[op.layer],
                       {op.n_heads, plan_.kv.n_kv_heads, head_dim, op.scale}, position_));
      case PlanOpKind::kHadamard:
        return put(op.out, ir::hadamard(get(op.x), weight(op, 0), op.block, op.inverse));
      default:
        return elementwise(op);
    }
  }

  static ir::Matrix combine(ir::Matrix x, const ir::Matrix& y,
                            const std::function<double(double, double)>& f) {
    for (std::int64_t row = 0; row < x.n_rows; ++row) {
      for (std::int64_t i = 0; i < x.n_cols; ++i) {
        x.at(row, i) = f(x.at(row, i), y.at(y.n_rows == 1 ? 0 : row, i));
      }
    }
    return x;
  }

  void linear(const PlanOp& op) {
    ir::Matrix out =
        op.accumulate ? get(op.out) : ir::Matrix(n_rows(op.out), plan_.buffers[op.out].width);
    std::int64_t column = op.column;
    for (std::size_t i = 0; i < op.weights.size(); ++i) {
      const ir::Matrix part = ir::multiply(get(op.x), weight(op, i));
      for (std::int64_t row = 0; row < out.n_rows; ++row) {
        for (std::int64_t o = 0; o < part.n_cols; ++o) out.at(row, column + o) += part.at(row, o);
      }
      column += part.n_cols;
    }
    put(op.out, out);
  }

  void elementwise(const PlanOp& op) {
    ir::Matrix x = get(op.x);
    switch (op.kind) {
      case PlanOpKind::kAdd:
        return put(op.out, combine(x, get(op.y), std::plus<double>()));
      case PlanOpKind::kMul:
        return put(op.out, combine(x, get(op.y), std::multiplies<double>()));
      case PlanOpKind::kSilu:
        for (double& element : x.elements) element = ir::silu(element);
        return put(op.out, x);
      case PlanOpKind::kSwiGlu: {
        const std::int64_t half = x.n_cols / 2;
        const auto gate = [](double g, double u) { return ir::silu(g) * u; };
        return put(op.out, combine(ir::columns(x, 0, half), ir::columns(x, half, half), gate));
      }
      case PlanOpKind::kLastRow: {
        ir::Matrix out(1, x.n_cols);
        for (std::int64_t i = 0; i < x.n_cols; ++i) out.at(0, i) = x.at(x.n_rows - 1, i);
        return put(op.out, out);
      }
      default:
        FAIL() << "unknown op";
    }
  }

  const Plan& plan_;
  const ir::WeightTable& weights_;
  std::vector<double> scratch_;
  ir::CacheTable cache_;
  std::vector<std::int64_t> tokens_;
  std::int64_t position_ = 0;
};

MethodRequest request_of(std::int64_t max_tokens) {
  MethodRequest request;
  request.max_tokens = max_tokens;
  request.encoding_of = [](const ir::Weight&) { return Encoding::kQ4Nl; };
  return request;
}

// Two layers in the form that lower() leaves; the last linear keeps its residual alive for `extra`.
std::string two_layers(const std::string& tail) {
  std::string text = R"(graph m {
  weight token_embd.weight: 30 x 16
  weight wq: 16 x 16
  weight wk: 8 x 16
  weight wv: 8 x 16
  weight wo: 16 x 16
  weight wg: 20 x 16
  weight wu: 20 x 16
  weight wd: 16 x 20
  weight n: 1 x 16
  weight f: 1 x 4
  input %tokens: i64[S]
  input %position: i64[1]
  %x0: f32[S, 16] = embed(%tokens; token_embd.weight)
)";
  for (int l = 0; l < 2; ++l) {
    text += fmt::format(R"(  %a{0}: f32[S, 16] = rms_norm(%x{0}; n) {{epsilon=1e-05}}
  %qkv{0}: f32[S, 32] = linear(%a{0}; wq, wk, wv)
  %q{0}: f32[S, 16] = slice(%qkv{0}) {{column=0, width=16}}
  %k{0}: f32[S, 8] = slice(%qkv{0}) {{column=16, width=8}}
  %qr{0}: f32[S, 16] = rope(%q{0}, %position; f) {{n_heads=2, head_dim=8}}
  %kr{0}: f32[S, 8] = rope(%k{0}, %position; f) {{n_heads=1, head_dim=8}}
  %v{0}: f32[S, 8] = slice(%qkv{0}) {{column=24, width=8}}
  kv_append(%kr{0}, %v{0}, %position) {{layer={0}, n_kv_heads=1, head_dim=8}}
  %t{0}: f32[S, 16] = attention(%qr{0}, %position) {{layer={0}, n_heads=2, n_kv_heads=1, head_dim=8, scale=0.35}}
  %y{0}: f32[S, 16] = linear(%t{0}, %x{0}; wo)
  %b{0}: f32[S, 16] = rms_norm(%y{0}; n) {{epsilon=1e-05}}
  %gu{0}: f32[S, 40] = linear(%b{0}; wg, wu)
  %s{0}: f32[S, 20] = swiglu(%gu{0})
  %x{1}: f32[S, 16] = linear(%s{0}, %y{0}; wd)
)",
                        l, l + 1);
  }
  return text + tail + "}\n";
}

constexpr const char* kLastRowTail = R"(  %last: f32[1, 16] = last_row(%x2)
  %h: f32[1, 16] = hadamard(%last; n) {block=8, inverse=1}
  %o: f32[1, 16] = rms_norm(%h; n) {epsilon=1e-05}
  %logits: f32[1, 30] = linear(%o; token_embd.weight)
  output(%logits)
)";
// The residual %y1 is used after the linear that adds to it; all rows.
constexpr const char* kResidualTail = R"(  %e: f32[S, 16] = add(%x2, %y1)
  %r: f32[S, 16] = hadamard(%e; n) {block=16, inverse=0}
  %sl: f32[S, 16] = silu(%r)
  %p: f32[S, 16] = mul(%sl, %x2)
  %logits: f32[S, 30] = linear(%p; token_embd.weight)
  output(%logits)
)";

ir::Graph parse(const std::string& text) {
  Result<ir::Graph> graph = ir::parse_graph(text);
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  return std::move(*graph);
}

void expect_plan_equals_graph(const ir::Graph& graph) {
  const Result<Plan> plan = lower_to_plan(graph, request_of(4));
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const ir::WeightTable weights = ir::random_weights(graph, 5);
  PlanEvaluator evaluator(*plan, weights);
  ir::CacheTable cache;
  std::int64_t position = 0;
  for (const std::vector<std::int64_t>& tokens :
       {std::vector<std::int64_t>{1, 5, 2, 9}, {3}, {7, 0}}) {
    const ir::Matrix expected = ir::evaluate(graph, weights, cache, tokens, position);
    const ir::Matrix found = evaluator.run(tokens, position);
    ASSERT_EQ(expected.n_rows, found.n_rows);
    for (std::size_t i = 0; i < expected.elements.size(); ++i) {
      // The same sums in double; only where the residual enters them differs.
      ASSERT_NEAR(expected.elements[i], found.elements[i], 1e-11);
    }
    position += static_cast<std::int64_t>(tokens.size());
  }
}

TEST(CpuTarget, ThePlanMeansWhatTheGraphMeans) {
  expect_plan_equals_graph(parse(two_layers(kLastRowTail)));
  expect_plan_equals_graph(parse(two_layers(kResidualTail)));
}

int count(const Plan& plan, PlanOpKind kind) {
  int n = 0;
  for (const PlanOp& op : plan.ops) n += op.kind == kind ? 1 : 0;
  return n;
}

TEST(CpuTarget, FusesWhatLiesSideBySide) {
  const Result<Plan> plan = lower_to_plan(parse(two_layers(kLastRowTail)), request_of(4));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(count(*plan, PlanOpKind::kRope), 2);  // q and k at once
  EXPECT_EQ(count(*plan, PlanOpKind::kAdd), 0);
  EXPECT_EQ(count(*plan, PlanOpKind::kLinear), 9);
  EXPECT_EQ(plan->kv, (KvShape{2, 1, 8}));
  EXPECT_EQ(plan->n_vocab, 30);
  const Result<Plan> kept = lower_to_plan(parse(two_layers(kResidualTail)), request_of(4));
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(count(*kept, PlanOpKind::kAdd), 2);  // one for the residual that is needed later
}

TEST(CpuTarget, CompilesToABlobThatDecodes) {
  const ir::Graph graph = parse(two_layers(kLastRowTail));
  const Result<CompiledMethod> method = cpu_target().compile(graph, request_of(4));
  ASSERT_TRUE(method.ok()) << method.status().message();
  const Result<Plan> plan = decode_plan(method->blob, "blob");
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->scratch_bytes, method->scratch_bytes);
  EXPECT_EQ(method->delegate_id, "CriaCpuBackend");
  EXPECT_EQ(method->cache.bytes_per_position, 2u * 2 * 8 * 2);
  ASSERT_EQ(method->weights.size(), 10u);
  for (const TargetWeight& weight : method->weights) {
    const bool is_vector = weight.name == "n" || weight.name == "f";
    EXPECT_EQ(weight.packed, !is_vector) << weight.name;
    EXPECT_EQ(weight.encoding, is_vector ? Encoding::kF32 : Encoding::kQ4Nl);
  }
}

void expect_unsupported(const Target& target, const std::string& text, const std::string& message,
                        std::int64_t max_tokens = 4) {
  const Result<CompiledMethod> method = target.compile(parse(text), request_of(max_tokens));
  ASSERT_FALSE(method.ok());
  EXPECT_EQ(method.status().code(), ErrorCode::kUnsupported);
  EXPECT_NE(method.status().message().find(message), std::string::npos)
      << method.status().message();
}

// The first `from` of the text.
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(CpuTarget, RefusesWithAReason) {
  const std::string good = two_layers(kLastRowTail);
  const Target& cpu = cpu_target();
  expect_unsupported(cpu, replaced(good, "rms_norm(%x0; n)", "rms_normalize(%x0)"),
                     "rms_normalize of method m: only as a part of rms_norm");
  expect_unsupported(cpu, good, "100000 tokens a call", 100000);
  expect_unsupported(
      cpu,
      replaced(replaced(good, "layer=0, n_kv", "layer=5, n_kv"), "layer=0, n_h", "layer=5, n_h"),
      "of layer 5, expected layer 0");
  expect_unsupported(cpu,
                     replaced(good, "kv_append(%kr0, %v0", "kv_append(%kr0, %u")
                         .insert(good.find("  kv_append"), "  %u: f32[S, 8] = linear(%a0; wv)\n"),
                     "expected one qkv");
  // q is read after it was rotated in place.
  expect_unsupported(
      cpu, replaced(good, "%t1: f32[S, 16] = attention(%qr1", "%t1: f32[S, 16] = attention(%q1"),
      "is used later");
  expect_unsupported(cpu,
                     replaced(good, "input %position: i64[1]\n",
                              "input %position: i64[1]\n  input %more: i64[1]\n"),
                     "must take tokens");
}

TEST(NullTarget, RefusesEverythingByName) {
  expect_unsupported(null_target(), two_layers(kLastRowTail), "null: embed of method m");
  EXPECT_FALSE(null_target().supports(Encoding::kQ4).supported);
}

}  // namespace
}  // namespace cria

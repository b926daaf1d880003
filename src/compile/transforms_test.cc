// Exact transformations keep the meaning of the model: the edited weights in the rewritten graph
// give the logits of the original ones.
#include <gtest/gtest.h>

#include <cmath>

#include "compile/edited_model.h"
#include "compile/fold_norms.h"
#include "compile/lower.h"
#include "compile/memory_checkpoint.h"
#include "compile/rotate_model.h"
#include "compile/scale_inputs.h"
#include "ir/evaluate_for_test.h"
#include "ir/verify.h"

namespace cria {
namespace {

// All weights that a graph names, edited.
ir::WeightTable weight_table(const ir::Graph& graph, const Checkpoint& checkpoint,
                             const EditedModel& model) {
  ir::WeightTable table;
  for (const ir::Weight& weight : graph.weights) {
    ir::Matrix& to = table[weight.name] = ir::Matrix(weight.n_rows, weight.n_cols);
    if (weight.name == kRopeFrequencies) {
      const std::vector<float>& f = checkpoint.config().rope_inverse_frequencies;
      to.elements.assign(f.begin(), f.end());
    } else if (weight.n_rows == 1) {
      const Result<std::vector<float>> vector = model.vector(weight.name);
      EXPECT_TRUE(vector.ok()) << vector.status().message();
      to.elements.assign(vector->begin(), vector->end());
    } else {
      const Result<Matrix> rows = model.rows(**checkpoint.weight(weight.name), 0, weight.n_rows);
      EXPECT_TRUE(rows.ok()) << rows.status().message();
      to.elements.assign(rows->values.begin(), rows->values.end());
    }
  }
  return table;
}

// Three calls on one cache: a prompt, a token, a chunk.
std::vector<double> logits_of(const ir::Graph& graph, const Checkpoint& checkpoint,
                              const EditedModel& model) {
  const ir::WeightTable weights = weight_table(graph, checkpoint, model);
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

ir::Graph model_graph(const Checkpoint& checkpoint) {
  Result<ir::Graph> graph = build_llama_graph(checkpoint.config(), {"m", true});
  EXPECT_TRUE(graph.ok());
  return std::move(*graph);
}

// The evaluation is in double; what differs are the weights, which are edited in float: a handful
// of roundings each, 2^-24 of a weight, of either sign. Through two layers and a head that stays
// below 2^-20 of the logits' size.
void expect_close(const std::vector<double>& expected, const std::vector<double>& found) {
  ASSERT_EQ(expected.size(), found.size());
  double size = 0;
  for (double value : expected) size += value * value;
  size = std::sqrt(size / static_cast<double>(expected.size()));
  ASSERT_GT(size, 0);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(expected[i], found[i], 0x1p-20 * 8 * size);
  }
}

class Transforms : public testing::TestWithParam<bool> {
 protected:
  MemoryCheckpoint checkpoint_{StorageType::kF32, GetParam()};
  ThreadPool pool_{2};
  EditedModel plain_{checkpoint_, nullptr, pool_};
  EditedModel edited_{checkpoint_, nullptr, pool_};
};

TEST_P(Transforms, FoldedNormsKeepTheLogits) {
  const ir::Graph graph = model_graph(checkpoint_);
  ASSERT_TRUE(fold_norms(edited_).ok());
  EXPECT_EQ(edited_.edits_of("blk.1.ffn_up.weight").size(), 1u);
  EXPECT_EQ(*edited_.vector("blk.1.ffn_norm.weight"), std::vector<float>(96, 1.0f));
  EXPECT_TRUE(edited_.edits_of("token_embd.weight").empty()) << "a tied head keeps its norm";
  EXPECT_EQ(edited_.edits_of("output.weight").empty(), GetParam());
  expect_close(logits_of(graph, checkpoint_, plain_), logits_of(graph, checkpoint_, edited_));
}

TEST_P(Transforms, RotatedModelsKeepTheLogits) {
  for (const OnlineRotations& online :
       {OnlineRotations{}, OnlineRotations{.ffn_input = true}, OnlineRotations{.attn_input = true},
        OnlineRotations{true, true}}) {
    EditedModel rotated(checkpoint_, nullptr, pool_);
    ASSERT_TRUE(rotate_model(online, rotated).ok());
    const ir::Graph graph = model_graph(checkpoint_);
    ir::Graph changed = graph;
    EXPECT_EQ(rotate_residual(changed), GetParam() ? 2 : 0);
    EXPECT_EQ(online.ffn_input ? rotate_ffn_input(changed) : 2, 2);
    EXPECT_EQ(online.attn_input ? rotate_attn_input(changed) : 2, 2);
    ASSERT_TRUE(ir::verify(changed).ok()) << ir::verify(changed).message();
    const std::vector<double> expected = logits_of(graph, checkpoint_, plain_);
    expect_close(expected, logits_of(changed, checkpoint_, rotated));
    ASSERT_TRUE(lower(changed).ok());
    expect_close(expected, logits_of(changed, checkpoint_, rotated));
  }
}

TEST_P(Transforms, RotationsChangeEveryMatrixButATiedEmbedding) {
  ASSERT_TRUE(rotate_model({.ffn_input = true}, edited_).ok());
  for (const StoredWeight& stored : checkpoint_.weights()) {
    if (stored.n_rows == 1) continue;
    const bool kept = GetParam() && stored.name == "token_embd.weight";
    EXPECT_EQ(edited_.rows(stored, 0, stored.n_rows)->values ==
                  plain_.rows(stored, 0, stored.n_rows)->values,
              kept)
        << stored.name;
  }
}

// Random scales for every input, those of query heads that share a KV head alike.
void scale_at_random(bool active, EditedModel& model) {
  const LlamaConfig& config = model.config();
  std::mt19937 random(11);
  const auto scales = [&](std::int64_t n) {
    std::vector<float> s(static_cast<std::size_t>(n));
    for (float& value : s) value = 0.25f + static_cast<float>(random() % 1000) / 300;
    return s;
  };
  for (std::int64_t layer = 0; layer < config.n_layers; ++layer) {
    const std::vector<float> of_kv = scales(config.n_kv_heads * config.head_dim);
    std::vector<float> mixed;
    for (std::int64_t head = 0; head < config.n_heads; ++head) {
      const auto first =
          of_kv.begin() + head * config.n_kv_heads / config.n_heads * config.head_dim;
      mixed.insert(mixed.end(), first, first + config.head_dim);
    }
    const auto scale = [&](ScaledInput input, std::vector<float> s) {
      ASSERT_TRUE(scale_input(layer, input, std::move(s), model).ok());
    };
    scale(ScaledInput::kAttention, scales(config.hidden));
    scale(ScaledInput::kMixed, mixed);
    scale(ScaledInput::kFeedForward, scales(config.hidden));
    if (active) scale(ScaledInput::kActive, scales(config.ffn));
  }
}

TEST_P(Transforms, ScaledInputsKeepTheLogits) {
  const ir::Graph graph = model_graph(checkpoint_);
  scale_at_random(true, edited_);
  for (const char* part : {"attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_down"}) {
    EXPECT_EQ(edited_.edits_of(layer_weight(1, part)).size(), 1u) << part;
  }
  expect_close(logits_of(graph, checkpoint_, plain_), logits_of(graph, checkpoint_, edited_));
}

TEST_P(Transforms, ScaledInputsOfRotatedModelsKeepTheLogits) {
  for (const bool rotate_ffn : {false, true}) {
    EditedModel rotated(checkpoint_, nullptr, pool_);
    ASSERT_TRUE(rotate_model({.ffn_input = rotate_ffn}, rotated).ok());
    scale_at_random(!rotate_ffn, rotated);
    const ir::Graph graph = model_graph(checkpoint_);
    ir::Graph changed = graph;
    rotate_residual(changed);
    if (rotate_ffn) rotate_ffn_input(changed);
    ASSERT_TRUE(lower(changed).ok());
    expect_close(logits_of(graph, checkpoint_, plain_), logits_of(changed, checkpoint_, rotated));
  }
}

// Channels of very different size, each apart from the others; and Hessians, or not.
class UnevenInputs : public Statistics {
 public:
  explicit UnevenInputs(bool has_hessians) : has_hessians_(has_hessians) {}

  Result<InputStatistics> input_of(std::string_view weight) const override {
    InputStatistics input{7, {}, {}, has_hessians_};
    const bool active = weight.find("ffn_down") != weight.npos;
    const std::int64_t n = active ? 80 : weight.find("attn_output") != weight.npos ? 64 : 96;
    for (std::int64_t c = 0; c < n; ++c) {
      input.mean_absolute.push_back(std::exp(0.05f * static_cast<float>(c * 29 % 83)));
      input.mean_square.push_back(input.mean_absolute.back() * input.mean_absolute.back());
    }
    return input;
  }
  Result<Matrix> hessian_of(std::string_view weight) const override {
    if (!has_hessians_) return not_found("{}", weight);
    const std::vector<float> squares = input_of(weight)->mean_square;
    const auto n = static_cast<std::int64_t>(squares.size());
    Matrix hessian(n, n);
    for (std::int64_t c = 0; c < n; ++c) hessian.row(c)[c] = squares[c];
    return hessian;
  }

 private:
  bool has_hessians_;
};

TEST_P(Transforms, ScalesThatAreSearchedKeepTheLogits) {
  const ir::Graph graph = model_graph(checkpoint_);
  const std::vector<double> expected = logits_of(graph, checkpoint_, plain_);
  std::vector<float> gains;
  for (const bool has_hessians : {false, true}) {
    const UnevenInputs statistics(has_hessians);
    EditedModel scaled(checkpoint_, &statistics, pool_);
    std::vector<std::int64_t> steps;
    ScalingRequest request;
    request.rounding_of = [](const StoredWeight&) {
      return WeightRounding{.encoding = Encoding::kQ4};
    };
    request.progress = [&](std::int64_t n_done, std::int64_t n_layers) {
      EXPECT_EQ(n_layers, 2);
      steps.push_back(n_done);
      return Status();
    };
    ASSERT_TRUE(scale_inputs(checkpoint_, request, scaled).ok());
    EXPECT_EQ(steps, (std::vector<std::int64_t>{1, 2}));
    EXPECT_NE(*scaled.vector("blk.0.attn_norm.weight"), *plain_.vector("blk.0.attn_norm.weight"));
    for (const char* part : {"attn_q", "attn_output", "ffn_up", "ffn_down"}) {
      EXPECT_FALSE(scaled.edits_of(layer_weight(1, part)).empty()) << part;
    }
    EXPECT_TRUE(scaled.edits_of("token_embd.weight").empty());
    expect_close(expected, logits_of(graph, checkpoint_, scaled));
    // A diagonal Hessian says no more than the mean squares.
    const std::vector<float> found = *scaled.vector("blk.1.ffn_norm.weight");
    if (!gains.empty()) {
      EXPECT_EQ(found, gains);
    }
    gains = found;
  }
}

TEST_P(Transforms, InputsOfFloatsAreNotScaled) {
  const UnevenInputs statistics(false);
  EditedModel scaled(checkpoint_, &statistics, pool_);
  ScalingRequest request;
  request.ffn_input_is_rotated = true;
  request.rounding_of = [](const StoredWeight& stored) {
    const bool blocks =
        stored.name == "blk.0.attn_v.weight" || stored.name == "blk.0.ffn_down.weight";
    return WeightRounding{.encoding = blocks ? Encoding::kQ3 : Encoding::kF16};
  };
  ASSERT_TRUE(scale_inputs(checkpoint_, request, scaled).ok());
  EXPECT_EQ(scaled.edits_of("blk.0.attn_q.weight").size(), 1u) << "attn_v reads the same input";
  EXPECT_TRUE(scaled.edits_of("blk.1.attn_q.weight").empty());
  EXPECT_TRUE(scaled.edits_of("blk.0.attn_output.weight").empty());
  EXPECT_TRUE(scaled.edits_of("blk.0.ffn_down.weight").empty()) << "a rotation sits before it";
  EditedModel without(checkpoint_, nullptr, pool_);
  EXPECT_EQ(scale_inputs(checkpoint_, request, without).code(), ErrorCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Tied, Transforms, testing::Bool(),
                         [](const auto& param) { return param.param ? "Tied" : "Untied"; });

TEST(EditedModel, NamesWhatIsNotFinite) {
  MemoryCheckpoint checkpoint;
  checkpoint.set("blk.1.ffn_up.weight", 3 * 96 + 5, std::nanf(""));
  ThreadPool pool(2);
  const EditedModel model(checkpoint, nullptr, pool);
  const Result<Matrix> rows = model.rows(checkpoint.find("blk.1.ffn_up.weight"), 2, 4);
  ASSERT_FALSE(rows.ok());
  EXPECT_EQ(rows.status().code(), ErrorCode::kBadInput);
  EXPECT_NE(rows.status().message().find("file.blk.1.ffn_up.weight, row 3: column 5 is nan"),
            std::string::npos)
      << rows.status().message();
}

// Inputs of one linear: numbered, so that edits show.
class OneInput : public Statistics {
 public:
  Result<InputStatistics> input_of(std::string_view weight) const override {
    if (weight != "output.weight" && weight != "blk.0.attn_q.weight") {
      return not_found("{}", weight);
    }
    return InputStatistics{7, std::vector<float>(96, 4.0f), std::vector<float>(96, 2.0f), true};
  }
  Result<Matrix> hessian_of(std::string_view weight) const override {
    return not_found("{}", weight);
  }
};

TEST(EditedModel, StatisticsFollowTheEditsAndKnowTheTiedHead) {
  MemoryCheckpoint checkpoint;
  ThreadPool pool(1);
  const OneInput statistics;
  EditedModel model(checkpoint, &statistics, pool);
  const auto twos = std::make_shared<const std::vector<float>>(96, 2.0f);
  model.edit("blk.0.attn_q.weight", {WeightEdit::Kind::kScaleColumns, twos, 0});
  const Result<InputStatistics> q = model.input_of(checkpoint.find("blk.0.attn_q.weight"));
  ASSERT_TRUE(q.ok()) << q.status().message();
  EXPECT_EQ(q->mean_square[0], 1.0f);
  EXPECT_TRUE(model.input_of(checkpoint.find("token_embd.weight")).ok()) << "the head's";
  EXPECT_EQ(model.input_of(checkpoint.find("blk.0.attn_k.weight")).status().code(),
            ErrorCode::kNotFound);
  EXPECT_EQ(model.input_of(checkpoint.find("blk.0.attn_output.weight")).status().code(),
            ErrorCode::kNotFound);
  const EditedModel without(checkpoint, nullptr, pool);
  EXPECT_EQ(without.input_of(checkpoint.find("blk.0.attn_q.weight")).status().code(),
            ErrorCode::kInvalidArgument);
  MemoryCheckpoint untied(StorageType::kF32, false);
  const EditedModel apart(untied, &statistics, pool);
  EXPECT_EQ(apart.input_of(untied.find("token_embd.weight")).status().code(),
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cria

#include "model/graph.h"

#include <cmath>

#include "ir/builder.h"

namespace cria {
namespace {

using ir::OpKind;
using ir::ValueId;

// The decoder, written as in the paper: x += Attention(Norm(x)); x += FeedForward(Norm(x)).
class Decoder {
 public:
  Decoder(const LlamaConfig& config, const GraphOptions& options)
      : c_(config), options_(options), b_(options.name) {}

  Result<ir::Graph> build() {
    const ValueId tokens = b_.input("tokens", {ir::DType::kI64, {ir::kTokens}});
    position_ = b_.input("position", {ir::DType::kI64, {1}});

    const ir::WeightId embedding = b_.weight("token_embd.weight", c_.n_vocab, c_.hidden);
    ValueId x = b_.embed("embedding", tokens, embedding);
    for (std::int64_t layer = 0; layer < c_.n_layers; ++layer) {
      layer_ = layer;
      x = b_.add(in_layer("attn_residual"), x, attention(norm(in_layer("attn_norm"), x)));
      x = b_.add(in_layer("ffn_residual"), x, feed_forward(norm(in_layer("ffn_norm"), x)));
    }
    if (!options_.all_logits) x = b_.last_row("last", x);
    x = norm("output_norm", x);
    const ir::WeightId head =
        c_.tied_embeddings ? embedding : b_.weight("output.weight", c_.n_vocab, c_.hidden);
    b_.output(b_.linear("logits", x, head));
    return b_.finish();
  }

 private:
  std::string in_layer(const char* name) const { return fmt::format("blk.{}.{}", layer_, name); }

  ValueId norm(const std::string& name, ValueId x) {
    const ValueId unit = b_.rms_normalize(name + ".unit", x, c_.norm_epsilon);
    return b_.scale(name, unit, b_.vector(name + ".weight", c_.hidden));
  }

  // x * weight^T, the weight of this layer with `n_rows` output features.
  ValueId project(const char* name, ValueId x, std::int64_t n_rows, std::int64_t n_cols) {
    const std::string full = in_layer(name);
    return b_.linear(full, x, b_.weight(full + ".weight", n_rows, n_cols));
  }

  ValueId rotate(const std::string& name, ValueId x, std::int64_t n_heads) {
    const ir::WeightId frequencies = b_.vector(kRopeFrequencies, c_.head_dim / 2);
    return b_.append(name, {OpKind::kRope,
                            {x, position_},
                            {frequencies},
                            {},
                            {.n_heads = n_heads, .head_dim = c_.head_dim}});
  }

  ValueId attention(ValueId x) {
    const std::int64_t q_width = c_.n_heads * c_.head_dim;
    const std::int64_t kv_width = c_.n_kv_heads * c_.head_dim;
    const ValueId q = project("attn_q", x, q_width, c_.hidden);
    const ValueId k = project("attn_k", x, kv_width, c_.hidden);
    const ValueId v = project("attn_v", x, kv_width, c_.hidden);
    const ValueId q_rotated = rotate(in_layer("q_rotated"), q, c_.n_heads);
    const ValueId k_rotated = rotate(in_layer("k_rotated"), k, c_.n_kv_heads);
    b_.append("", {OpKind::kKvAppend,
                   {k_rotated, v, position_},
                   {},
                   {},
                   {.layer = layer_, .n_kv_heads = c_.n_kv_heads, .head_dim = c_.head_dim}});
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c_.head_dim)));
    const ValueId mixed = b_.append(in_layer("attention"), {OpKind::kAttention,
                                                            {q_rotated, position_},
                                                            {},
                                                            {},
                                                            {.scale = scale,
                                                             .layer = layer_,
                                                             .n_heads = c_.n_heads,
                                                             .n_kv_heads = c_.n_kv_heads,
                                                             .head_dim = c_.head_dim}});
    return project("attn_output", mixed, c_.hidden, q_width);
  }

  ValueId feed_forward(ValueId x) {
    const ValueId gate = project("ffn_gate", x, c_.ffn, c_.hidden);
    const ValueId up = project("ffn_up", x, c_.ffn, c_.hidden);
    const ValueId active = b_.mul(in_layer("ffn_active"), b_.silu(in_layer("ffn_silu"), gate), up);
    return project("ffn_down", active, c_.hidden, c_.ffn);
  }

  const LlamaConfig& c_;
  const GraphOptions& options_;
  ir::Builder b_;
  ValueId position_ = 0;
  std::int64_t layer_ = 0;
};

}  // namespace

Result<ir::Graph> build_llama_graph(const LlamaConfig& config, const GraphOptions& options) {
  CRIA_RETURN_IF_ERROR(validate_config(config));
  return Decoder(config, options).build();
}

}  // namespace cria

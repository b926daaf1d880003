#include "model/expected_weights.h"

#include <algorithm>
#include <map>
#include <unordered_set>

#include "base/quote.h"

namespace cria {
namespace {

// A weight that every layer has.
struct LayerWeight {
  const char* name;
  const char* hf_name;
  const char* llama2c_name;
  std::vector<std::int64_t> shape;
  std::int64_t rotary_heads = 0;
};

std::vector<LayerWeight> layer_weights(const LlamaConfig& c) {
  const std::int64_t q_rows = c.n_heads * c.head_dim;
  const std::int64_t kv_rows = c.n_kv_heads * c.head_dim;
  return {
      {"attn_norm", "input_layernorm", "rms_att", {c.hidden}},
      {"attn_q", "self_attn.q_proj", "wq", {q_rows, c.hidden}, c.n_heads},
      {"attn_k", "self_attn.k_proj", "wk", {kv_rows, c.hidden}, c.n_kv_heads},
      {"attn_v", "self_attn.v_proj", "wv", {kv_rows, c.hidden}},
      {"attn_output", "self_attn.o_proj", "wo", {c.hidden, q_rows}},
      {"ffn_norm", "post_attention_layernorm", "rms_ffn", {c.hidden}},
      {"ffn_gate", "mlp.gate_proj", "w1", {c.ffn, c.hidden}},
      {"ffn_up", "mlp.up_proj", "w3", {c.ffn, c.hidden}},
      {"ffn_down", "mlp.down_proj", "w2", {c.hidden, c.ffn}},
  };
}

std::string shape_to_string(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace

std::vector<ExpectedWeight> expected_weights(const LlamaConfig& c) {
  std::vector<ExpectedWeight> weights;
  weights.push_back(
      {"token_embd.weight", "model.embed_tokens.weight", "token_embedding", {c.n_vocab, c.hidden}});
  const std::vector<LayerWeight> layer = layer_weights(c);
  for (std::int64_t i = 0; i < c.n_layers; ++i) {
    for (const LayerWeight& w : layer) {
      weights.push_back({fmt::format("blk.{}.{}.weight", i, w.name),
                         fmt::format("model.layers.{}.{}.weight", i, w.hf_name),
                         fmt::format("{}.{}", w.llama2c_name, i), w.shape, w.rotary_heads});
    }
  }
  weights.push_back({"output_norm.weight", "model.norm.weight", "rms_final", {c.hidden}});
  if (!c.tied_embeddings) {
    weights.push_back({"output.weight", "lm_head.weight", "wcls", {c.n_vocab, c.hidden}});
  }
  return weights;
}

Result<std::vector<StoredWeight>> collect_weights(const LlamaConfig& config,
                                                  const WeightSource& source) {
  std::vector<StoredWeight> weights;
  for (const ExpectedWeight& expected : expected_weights(config)) {
    const std::string& file_name = expected.*source.name;
    CRIA_ASSIGN_OR_RETURN(const std::optional<FoundTensor> found, source.find(expected));
    if (!found) {
      return bad_input("{}: tensor {} is missing, expected with shape {}", source.what,
                       quote(file_name), shape_to_string(expected.shape));
    }
    if (found->shape != expected.shape) {
      return bad_input("{}: tensor {} has shape {}, expected {}", source.what, quote(file_name),
                       shape_to_string(found->shape), shape_to_string(expected.shape));
    }
    StoredWeight weight;
    weight.name = expected.name;
    weight.file_name = file_name;
    weight.type = found->type;
    weight.n_rows = expected.shape.size() == 1 ? 1 : expected.shape[0];
    weight.n_cols = expected.shape.back();
    weight.bytes = found->bytes;
    weight.source = found->source;
    weight.interleaved_heads = source.interleaved ? expected.rotary_heads : 0;
    weights.push_back(std::move(weight));
  }
  return weights;
}

Status refuse_unknown_tensors(const LlamaConfig& config, const WeightSource& source,
                              std::span<const std::string_view> names,
                              const std::function<bool(std::string_view)>& ignorable) {
  const std::vector<ExpectedWeight> expected = expected_weights(config);
  std::unordered_set<std::string_view> known;
  for (const ExpectedWeight& weight : expected) known.insert(weight.*source.name);
  for (const std::string_view name : names) {
    if (known.contains(name) || ignorable(name)) continue;
    return unsupported(
        "{}: tensor {} is no weight of a Llama decoder; leaving it out would change the results",
        source.what, quote(name));
  }
  return {};
}

std::string main_storage_type(std::span<const StoredWeight> weights) {
  std::map<std::string, std::uint64_t> n_bytes;
  for (const StoredWeight& weight : weights) n_bytes[weight.type_name()] += weight.stored_bytes();
  const auto most =
      std::ranges::max_element(n_bytes, {}, [](const auto& item) { return item.second; });
  return most == n_bytes.end() ? "" : most->first;
}

}  // namespace cria

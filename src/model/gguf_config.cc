#include "model/gguf_config.h"

#include "base/quote.h"

namespace cria {
namespace {

// Keys that change what a model computes in ways cria has no op for; zero or absent means none.
constexpr const char* kUnsupportedUnlessZero[] = {
    "llama.expert_count",
    "llama.expert_used_count",
    "llama.attention.sliding_window",
    "llama.attention.clamp_kqv",
    "llama.attention.max_alibi_bias",
    "llama.attention.scale",
    "llama.attn_logit_softcapping",
    "llama.final_logit_softcapping",
};
constexpr const char* kUnsupportedUnlessOne[] = {
    "llama.logit_scale",
    "llama.embedding_scale",
    "llama.residual_scale",
    "llama.rope.scaling.attn_factor",
};

Status check_neutral(const GgufFile& file, const char* key, double neutral) {
  CRIA_ASSIGN_OR_RETURN(const double value, file.number(key, neutral));
  // Scales are written as zero by some tools that mean "none".
  if (value == neutral || value == 0.0) return {};
  return unsupported("{}: {} is {}, a plain Llama has {}", file.what(), key, value, neutral);
}

Status read_sizes(const GgufFile& file, LlamaConfig& config) {
  const auto required = std::nullopt;
  CRIA_ASSIGN_OR_RETURN(config.n_layers, file.integer("llama.block_count", required));
  CRIA_ASSIGN_OR_RETURN(config.hidden, file.integer("llama.embedding_length", required));
  CRIA_ASSIGN_OR_RETURN(config.ffn, file.integer("llama.feed_forward_length", required));
  CRIA_ASSIGN_OR_RETURN(config.max_context, file.integer("llama.context_length", required));
  CRIA_ASSIGN_OR_RETURN(config.n_heads, file.integer("llama.attention.head_count", required));
  CRIA_ASSIGN_OR_RETURN(config.n_kv_heads,
                        file.integer("llama.attention.head_count_kv", config.n_heads));
  CRIA_ASSIGN_OR_RETURN(const double epsilon,
                        file.number("llama.attention.layer_norm_rms_epsilon", required));
  config.norm_epsilon = static_cast<float>(epsilon);
  return {};
}

Status read_head_dim(const GgufFile& file, LlamaConfig& config) {
  if (config.n_heads < 1) {
    return bad_input("{}: llama.attention.head_count is {}, expected at least 1", file.what(),
                     config.n_heads);
  }
  const std::int64_t fallback = config.hidden / config.n_heads;
  CRIA_ASSIGN_OR_RETURN(config.head_dim, file.integer("llama.attention.key_length", fallback));
  CRIA_ASSIGN_OR_RETURN(const auto value_dim,
                        file.integer("llama.attention.value_length", fallback));
  if (value_dim != config.head_dim) {
    return unsupported(
        "{}: heads have keys of {} and values of {} elements; only equal ones are "
        "supported",
        file.what(), config.head_dim, value_dim);
  }
  CRIA_ASSIGN_OR_RETURN(const auto rotated,
                        file.integer("llama.rope.dimension_count", config.head_dim));
  if (rotated != config.head_dim) {
    return unsupported("{}: llama.rope.dimension_count is {}; only whole heads ({}) are supported",
                       file.what(), rotated, config.head_dim);
  }
  return {};
}

Result<RopeScaling> read_rope(const GgufFile& file) {
  RopeScaling rope;
  CRIA_ASSIGN_OR_RETURN(rope.theta, file.number("llama.rope.freq_base", 10000.0));
  CRIA_ASSIGN_OR_RETURN(const auto type, file.text("llama.rope.scaling.type", "linear"));
  if (type != "linear" && type != "none") {
    return unsupported("{}: llama.rope.scaling.type is {}; only none and linear are supported",
                       file.what(), quote(type));
  }
  CRIA_ASSIGN_OR_RETURN(const double legacy, file.number("llama.rope.scale_linear", 1.0));
  CRIA_ASSIGN_OR_RETURN(const double factor, file.number("llama.rope.scaling.factor", legacy));
  rope.original_context = 0;
  rope.factor = type == "none" || factor == 0.0 ? 1.0 : factor;
  return rope;
}

}  // namespace

Status check_gguf_architecture(const GgufFile& file) {
  CRIA_ASSIGN_OR_RETURN(const auto architecture, file.text("general.architecture", std::nullopt));
  if (architecture != "llama") {
    return unsupported("{}: the architecture is {}; only \"llama\" is supported", file.what(),
                       quote(architecture));
  }
  CRIA_ASSIGN_OR_RETURN(const auto type, file.text("general.type", "model"));
  if (type != "model") {
    return unsupported("{}: general.type is {}; only \"model\" is supported", file.what(),
                       quote(type));
  }
  for (const char* key : kUnsupportedUnlessZero) {
    CRIA_RETURN_IF_ERROR(check_neutral(file, key, 0.0));
  }
  for (const char* key : kUnsupportedUnlessOne) CRIA_RETURN_IF_ERROR(check_neutral(file, key, 1.0));
  return {};
}

Result<LlamaConfig> read_gguf_config(const GgufFile& file, std::int64_t n_vocab) {
  LlamaConfig config;
  config.n_vocab = n_vocab;
  CRIA_RETURN_IF_ERROR(read_sizes(file, config));
  CRIA_RETURN_IF_ERROR(read_head_dim(file, config));
  CRIA_RETURN_IF_ERROR(validate_sizes(config).with_context(file.what()));
  CRIA_ASSIGN_OR_RETURN(const RopeScaling rope, read_rope(file));
  config.rope_inverse_frequencies = rope_inverse_frequencies(config.head_dim, rope);
  CRIA_RETURN_IF_ERROR(validate_config(config).with_context(file.what()));
  return config;
}

}  // namespace cria

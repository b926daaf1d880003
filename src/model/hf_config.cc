#include "model/hf_config.h"

#include <algorithm>

#include "base/json/json.h"
#include "base/quote.h"

namespace cria {
namespace {

using Json = nlohmann::json;

// The members of one JSON object, with errors that name the file.
class Members {
 public:
  Members(const Json& object, std::string_view what) : object_(object), what_(what) {}

  const Json* find(const char* member) const { return json_member(object_, member); }
  std::string_view what() const { return what_; }

  Result<std::int64_t> integer(const char* member, std::int64_t fallback) const {
    return json_integer(object_, member, fallback, what_);
  }
  Result<std::int64_t> required_integer(const char* member) const {
    CRIA_RETURN_IF_ERROR(require(member));
    return integer(member, 0);
  }
  Result<double> number(const char* member, double fallback) const {
    return json_number(object_, member, fallback, what_);
  }
  Result<double> required_number(const char* member) const {
    CRIA_RETURN_IF_ERROR(require(member));
    return number(member, 0);
  }
  Result<bool> boolean(const char* member, bool fallback) const {
    return json_bool(object_, member, fallback, what_);
  }
  Result<std::string> text(const char* member, std::string_view fallback) const {
    return json_text(object_, member, fallback, what_);
  }

 private:
  Status require(const char* member) const {
    if (find(member) != nullptr) return {};
    return bad_input("{}: {} is missing", what_, quote(member));
  }

  const Json& object_;
  std::string_view what_;
};

Status check_model_type(const Members& members) {
  CRIA_ASSIGN_OR_RETURN(const std::string type, members.text("model_type", ""));
  if (type != "llama") {
    return unsupported("{}: model_type is {}; only \"llama\" is supported", members.what(),
                       quote(type));
  }
  const Json* architectures = members.find("architectures");
  if (architectures == nullptr) return {};
  const auto is_causal_lm = [](const Json& name) {
    return name.is_string() && name.get_ref<const std::string&>() == "LlamaForCausalLM";
  };
  if (architectures->is_array() && std::ranges::any_of(*architectures, is_causal_lm)) return {};
  return unsupported("{}: architectures is {}; only LlamaForCausalLM is supported", members.what(),
                     quote(architectures->dump()));
}

Status check_plain(const Members& members) {
  CRIA_ASSIGN_OR_RETURN(const std::string activation, members.text("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return unsupported("{}: hidden_act is {}; only \"silu\" is supported", members.what(),
                       quote(activation));
  }
  for (const char* bias : {"attention_bias", "mlp_bias"}) {
    CRIA_ASSIGN_OR_RETURN(const bool biased, members.boolean(bias, false));
    if (biased) return unsupported("{}: {} is true; a Llama has no biases", members.what(), bias);
  }
  CRIA_ASSIGN_OR_RETURN(const double rotated, members.number("partial_rotary_factor", 1.0));
  if (rotated != 1.0) {
    return unsupported("{}: partial_rotary_factor is {}; only whole heads are rotated",
                       members.what(), rotated);
  }
  return {};
}

Status read_sizes(const Members& members, LlamaConfig& config) {
  CRIA_ASSIGN_OR_RETURN(config.n_layers, members.required_integer("num_hidden_layers"));
  CRIA_ASSIGN_OR_RETURN(config.hidden, members.required_integer("hidden_size"));
  CRIA_ASSIGN_OR_RETURN(config.ffn, members.required_integer("intermediate_size"));
  CRIA_ASSIGN_OR_RETURN(config.n_heads, members.required_integer("num_attention_heads"));
  CRIA_ASSIGN_OR_RETURN(config.n_kv_heads, members.integer("num_key_value_heads", config.n_heads));
  CRIA_ASSIGN_OR_RETURN(config.n_vocab, members.required_integer("vocab_size"));
  CRIA_ASSIGN_OR_RETURN(config.max_context, members.integer("max_position_embeddings", 2048));
  CRIA_ASSIGN_OR_RETURN(const double epsilon, members.number("rms_norm_eps", 1e-6));
  config.norm_epsilon = static_cast<float>(epsilon);
  if (config.n_heads < 1) {
    return bad_input("{}: num_attention_heads is {}, expected at least 1", members.what(),
                     config.n_heads);
  }
  CRIA_ASSIGN_OR_RETURN(config.head_dim,
                        members.integer("head_dim", config.hidden / config.n_heads));
  return validate_sizes(config).with_context(std::string(members.what()));
}

Status read_llama3_scaling(const Members& scaling, RopeScaling& rope) {
  CRIA_ASSIGN_OR_RETURN(rope.factor, scaling.required_number("factor"));
  CRIA_ASSIGN_OR_RETURN(rope.low_frequency_factor, scaling.required_number("low_freq_factor"));
  CRIA_ASSIGN_OR_RETURN(rope.high_frequency_factor, scaling.required_number("high_freq_factor"));
  CRIA_ASSIGN_OR_RETURN(rope.original_context,
                        scaling.required_number("original_max_position_embeddings"));
  if (rope.low_frequency_factor > 0 && rope.high_frequency_factor > rope.low_frequency_factor &&
      rope.original_context > 0) {
    return {};
  }
  return bad_input(
      "{}: llama3 rotary scaling with low_freq_factor {}, high_freq_factor {} and "
      "original_max_position_embeddings {}; expected 0 < low < high and a positive length",
      scaling.what(), rope.low_frequency_factor, rope.high_frequency_factor, rope.original_context);
}

// `scaling` is rope_parameters or rope_scaling; the type has been spelled in two ways.
Status read_scaling(const Members& scaling, RopeScaling& rope) {
  CRIA_ASSIGN_OR_RETURN(const std::string legacy, scaling.text("type", "default"));
  CRIA_ASSIGN_OR_RETURN(const std::string type, scaling.text("rope_type", legacy));
  if (type == "default" || type == "none") return {};
  if (type == "llama3") return read_llama3_scaling(scaling, rope);
  if (type != "linear") {
    return unsupported(
        "{}: the rotary scaling is {}; only \"default\", \"linear\" and \"llama3\" are supported",
        scaling.what(), quote(type));
  }
  rope.original_context = 0;
  CRIA_ASSIGN_OR_RETURN(rope.factor, scaling.required_number("factor"));
  return {};
}

Result<RopeScaling> read_rope(const Members& members) {
  RopeScaling rope;
  CRIA_ASSIGN_OR_RETURN(rope.theta, members.number("rope_theta", rope.theta));
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    const Json* object = members.find(name);
    if (object == nullptr) continue;
    if (!object->is_object()) {
      return bad_input("{}: {} is a {}, expected an object", members.what(), quote(name),
                       object->type_name());
    }
    const Members scaling(*object, members.what());
    CRIA_ASSIGN_OR_RETURN(rope.theta, scaling.number("rope_theta", rope.theta));
    CRIA_RETURN_IF_ERROR(read_scaling(scaling, rope));
    break;
  }
  if (rope.theta > 0 && rope.factor > 0) return rope;  // the negated forms would let NaN through
  return bad_input("{}: rope_theta is {} and the scaling factor {}, expected positive numbers",
                   members.what(), rope.theta, rope.factor);
}

}  // namespace

Result<HfConfig> read_hf_config(std::string_view text, std::string_view what) {
  CRIA_ASSIGN_OR_RETURN(const Json json, parse_strict_json(text, what));
  if (!json.is_object()) return bad_input("{}: not a JSON object", what);
  const Members members(json, what);
  CRIA_RETURN_IF_ERROR(check_model_type(members));
  CRIA_RETURN_IF_ERROR(check_plain(members));
  HfConfig result;
  if (const Json* quantization = members.find("quantization_config")) {
    CRIA_ASSIGN_OR_RETURN(result.quantization, read_hf_quantization(*quantization, what));
  }
  CRIA_RETURN_IF_ERROR(read_sizes(members, result.config));
  CRIA_ASSIGN_OR_RETURN(const RopeScaling rope, read_rope(members));
  result.config.rope_inverse_frequencies = rope_inverse_frequencies(result.config.head_dim, rope);
  if (members.find("tie_word_embeddings") != nullptr) {
    CRIA_ASSIGN_OR_RETURN(result.tie_word_embeddings,
                          members.boolean("tie_word_embeddings", false));
  }
  CRIA_RETURN_IF_ERROR(validate_config(result.config).with_context(std::string(what)));
  return result;
}

}  // namespace cria

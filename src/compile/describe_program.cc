#include "compile/describe_program.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/config_json.h"

namespace cria {

using Json = nlohmann::ordered_json;

std::vector<pte::ConstantMethod> constant_methods(const ProgramFacts& facts) {
  const LlamaConfig& config = facts.checkpoint.config();
  // Stock runners cut prompts into pieces of get_max_seq_len, so it is what one call takes.
  const std::int64_t piece = std::min(facts.request.prefill_chunk, facts.max_context);
  std::vector<pte::ConstantMethod> constants = {
      {"get_max_seq_len", {piece}},
      {"get_max_context_len", {facts.max_context}},
      {"get_kv_granularity", {facts.program.methods[0].compiled.cache.granularity}},
      {"get_vocab_size", {config.n_vocab}},
      {"get_n_layers", {config.n_layers}},
      {"get_n_kv_heads", {config.n_kv_heads}},
      {"get_head_dim", {config.head_dim}},
      {"use_kv_cache", {true}},
      {"use_sdpa_with_kv_cache", {false}},
      {"enable_dynamic_shape", {true}},
  };
  const Vocabulary* vocabulary = facts.checkpoint.vocabulary();
  if (vocabulary == nullptr) return constants;
  if (vocabulary->bos_id >= 0) {
    constants.push_back({"get_bos_id", {std::int64_t{vocabulary->bos_id}}});
  }
  if (!vocabulary->eos_ids.empty()) {
    pte::ConstantMethod eos{"get_eos_ids", {}};
    for (const std::int32_t id : vocabulary->eos_ids) eos.values.push_back(std::int64_t{id});
    constants.push_back(std::move(eos));
  }
  return constants;
}

std::string program_metadata(const ProgramFacts& facts) {
  Json tensors = Json::object();
  for (const TargetWeight& weight : facts.program.weights) {
    tensors[weight.key] = {{"encoding", encoding_spec(weight.encoding).name},
                           {"shape", {weight.n_rows, weight.n_cols}}};
  }
  const Json json = {{"description", facts.checkpoint.description()},
                     {"recipe", facts.request.recipe},
                     {"activations", facts.request.activations},
                     {"cache_type_k", facts.request.cache_type_k},
                     {"cache_type_v", facts.request.cache_type_v},
                     {"target", facts.target.name()},
                     {"cria_version", facts.request.cria_version},
                     {"max_context", facts.max_context},
                     {"n_parameters", facts.n_parameters},
                     {"weight_bytes", facts.weight_bytes},
                     {"config", config_json(facts.checkpoint.config())},
                     {"tensors", std::move(tensors)}};
  // The description may hold bytes of the checkpoint that are not UTF-8.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace cria

#include "compile/fold_norms.h"

#include <memory>

namespace cria {
namespace {

Status fold_into(const std::string& norm, std::initializer_list<std::string> weights,
                 EditedModel& model) {
  CRIA_ASSIGN_OR_RETURN(std::vector<float> gains, model.vector(norm));
  const auto factors = std::make_shared<const std::vector<float>>(std::move(gains));
  for (const std::string& weight : weights) {
    model.edit(weight, {WeightEdit::Kind::kScaleColumns, factors, 0});
  }
  model.set_vector(norm, std::vector<float>(factors->size(), 1.0f));
  return Status();
}

}  // namespace

Status fold_norms(EditedModel& model) {
  for (std::int64_t layer = 0; layer < model.config().n_layers; ++layer) {
    const auto name = [layer](const char* part) { return layer_weight(layer, part); };
    CRIA_RETURN_IF_ERROR(
        fold_into(name("attn_norm"), {name("attn_q"), name("attn_k"), name("attn_v")}, model));
    CRIA_RETURN_IF_ERROR(fold_into(name("ffn_norm"), {name("ffn_gate"), name("ffn_up")}, model));
  }
  if (model.config().tied_embeddings) return Status();
  return fold_into("output_norm.weight", {"output.weight"}, model);
}

}  // namespace cria

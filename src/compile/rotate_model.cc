#include "compile/rotate_model.h"

#include <algorithm>
#include <memory>

#include "compile/fold_norms.h"
#include "ir/rewrite.h"

namespace cria {
namespace {

using Kind = WeightEdit::Kind;
using ir::OpKind;

constexpr const char* kResidualSigns = "rotation.residual.signs";
constexpr const char* kFfnSigns = "rotation.ffn_input.signs";
constexpr const char* kAttnSigns = "rotation.attn_input.signs";

WeightEdit rotation(Kind kind, std::vector<float> signs, std::int64_t block) {
  return {kind, std::make_shared<const std::vector<float>>(std::move(signs)), block};
}

// Each query head turns like the KV head that it reads.
std::vector<float> per_query_head(const std::vector<float>& signs, const LlamaConfig& config) {
  std::vector<float> all;
  const std::int64_t group = config.n_heads / config.n_kv_heads;
  for (std::int64_t head = 0; head < config.n_heads; ++head) {
    const auto first = signs.begin() + head / group * config.head_dim;
    all.insert(all.end(), first, first + config.head_dim);
  }
  return all;
}

void rotate_values(std::int64_t layer, EditedModel& model) {
  const LlamaConfig& config = model.config();
  const std::int64_t block = rotation_block(config.head_dim);
  const std::string v = layer_weight(layer, "attn_v");
  const std::vector<float> signs = random_signs(v, config.n_kv_heads * config.head_dim);
  model.edit(layer_weight(layer, "attn_output"),
             rotation(Kind::kRotateColumns, per_query_head(signs, config), block));
  model.edit(v, rotation(Kind::kRotateRows, signs, block));
}

void rotate_residual_weights(EditedModel& model) {
  const LlamaConfig& config = model.config();
  const std::int64_t block = rotation_block(config.hidden);
  const std::vector<float> signs = random_signs(kResidualSigns, config.hidden);
  const WeightEdit columns = rotation(Kind::kRotateColumns, signs, block);
  const WeightEdit rows = rotation(Kind::kRotateRows, signs, block);
  for (std::int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const char* part : {"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"}) {
      model.edit(layer_weight(layer, part), columns);
    }
    for (const char* part : {"attn_output", "ffn_down"}) {
      model.edit(layer_weight(layer, part), rows);
    }
  }
  if (config.tied_embeddings) {
    model.set_vector(kResidualSigns, signs);
  } else {
    model.edit("token_embd.weight", columns);
    model.edit("output.weight", columns);
  }
}

// One online rotation, the same in all layers.
void rotate_input(const char* signs_name, std::int64_t width, const char* part,
                  EditedModel& model) {
  const std::vector<float> signs = random_signs(signs_name, width);
  const WeightEdit columns = rotation(Kind::kRotateColumns, signs, rotation_block(width));
  for (std::int64_t layer = 0; layer < model.config().n_layers; ++layer) {
    model.edit(layer_weight(layer, part), columns);
  }
  model.set_vector(signs_name, signs);
}

// --- graphs ---

ir::WeightId vector_of(ir::Graph& graph, const char* name, std::int64_t width) {
  for (std::size_t id = 0; id < graph.weights.size(); ++id) {
    if (graph.weights[id].name == name) return static_cast<ir::WeightId>(id);
  }
  graph.weights.push_back({name, 1, width});
  return static_cast<ir::WeightId>(graph.weights.size() - 1);
}

// A hadamard of `x` in front of op `at`. Returns its result.
ir::ValueId insert_hadamard(ir::Graph& graph, std::size_t at, ir::ValueId x, const char* signs,
                            bool inverse) {
  const std::int64_t width = graph.width(x);
  const ir::ValueId turned = ir::add_value(
      graph, graph.values[x].name + (inverse ? ".unrotated" : ".rotated"), graph.type(x));
  ir::Op op{OpKind::kHadamard, {x}, {vector_of(graph, signs, width)}, turned, {}};
  op.attributes.block = rotation_block(width);
  op.attributes.inverse = inverse ? 1 : 0;
  graph.ops.insert(graph.ops.begin() + static_cast<std::ptrdiff_t>(at), std::move(op));
  return turned;
}

std::size_t last_of_kind(const ir::Graph& graph, OpKind kind) {
  for (std::size_t i = graph.ops.size(); i-- > 0;) {
    if (graph.ops[i].kind == kind) return i;
  }
  return ir::kNoOp;
}

bool is_gated_product(const ir::Graph& graph, const std::vector<std::size_t>& maker,
                      ir::ValueId value) {
  const std::size_t product = maker[value];
  if (product == ir::kNoOp || graph.ops[product].kind != OpKind::kMul) return false;
  return std::any_of(
      graph.ops[product].inputs.begin(), graph.ops[product].inputs.end(), [&](ir::ValueId input) {
        return maker[input] != ir::kNoOp && graph.ops[maker[input]].kind == OpKind::kSilu;
      });
}

bool is_attention(const ir::Graph& graph, const std::vector<std::size_t>& maker,
                  ir::ValueId value) {
  return maker[value] != ir::kNoOp && graph.ops[maker[value]].kind == OpKind::kAttention;
}

// In front of each linear whose input is of a kind. Returns the number of ops added.
template <typename IsInput>
int rotate_inputs(ir::Graph& graph, const char* signs, const IsInput& is_input) {
  int n_added = 0;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (graph.ops[i].kind != OpKind::kLinear) continue;
    const ir::ValueId x = graph.ops[i].inputs[0];
    if (!is_input(graph, ir::makers(graph), x)) continue;
    const ir::ValueId rotated = insert_hadamard(graph, i, x, signs, false);
    graph.ops[++i].inputs[0] = rotated;
    ++n_added;
  }
  return n_added;
}

}  // namespace

Status rotate_model(const OnlineRotations& online, EditedModel& model) {
  CRIA_RETURN_IF_ERROR(fold_norms(model));
  for (std::int64_t layer = 0; layer < model.config().n_layers; ++layer) {
    rotate_values(layer, model);
  }
  rotate_residual_weights(model);
  const LlamaConfig& config = model.config();
  if (online.ffn_input) rotate_input(kFfnSigns, config.ffn, "ffn_down", model);
  if (online.attn_input) {
    rotate_input(kAttnSigns, config.n_heads * config.head_dim, "attn_output", model);
  }
  return Status();
}

int rotate_residual(ir::Graph& graph) {
  const std::size_t embed = last_of_kind(graph, OpKind::kEmbed);
  const std::size_t head = last_of_kind(graph, OpKind::kLinear);
  const std::size_t norm = last_of_kind(graph, OpKind::kRmsNormalize);
  if (embed == ir::kNoOp || head == ir::kNoOp || norm == ir::kNoOp) return 0;
  if (graph.ops[head].weights != graph.ops[embed].weights) return 0;
  // From the back, so that the places found stay right.
  const ir::ValueId last = graph.ops[norm].inputs[0];
  const ir::ValueId unrotated = insert_hadamard(graph, norm, last, kResidualSigns, true);
  graph.ops[norm + 1].inputs[0] = unrotated;
  const ir::ValueId looked_up = *graph.ops[embed].output;
  const ir::ValueId rotated = insert_hadamard(graph, embed + 1, looked_up, kResidualSigns, false);
  ir::replace_uses(graph, looked_up, rotated);
  graph.ops[embed + 1].inputs[0] = looked_up;
  return 2;
}

int rotate_ffn_input(ir::Graph& graph) { return rotate_inputs(graph, kFfnSigns, is_gated_product); }

int rotate_attn_input(ir::Graph& graph) { return rotate_inputs(graph, kAttnSigns, is_attention); }

}  // namespace cria

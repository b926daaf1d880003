// AWQ over a whole model: scales for the inputs of its linears, folded into what makes the inputs.
//
//   input of               made by                           1/s goes into
//   attn_q, attn_k, attn_v  attn_norm                        its gain
//   attn_output             attn_v, by way of the attention  attn_v's rows: all query heads that
//                                                            read a KV head share its scales
//   ffn_gate, ffn_up        ffn_norm                         its gain
//   ffn_down                silu(gate) * up                  ffn_up's rows
//
// The head keeps its input: tied, it is the embedding, and its encoding loses little.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "compile/edited_model.h"
#include "quantize/recipe.h"

namespace cria {

enum class ScaledInput : std::uint8_t { kAttention, kMixed, kFeedForward, kActive };

// Multiplies the columns of the linears that read `input` in `layer` by `scales` and divides what
// makes it: the logits change by float rounding only. kMixed: `scales` are equal for all query
// heads of a KV head. REQUIRES: as many scales as the input has channels, none 0; nothing turns the
// input on its way (rotate_model with rotate_ffn_input: kActive).
Status scale_input(std::int64_t layer, ScaledInput input, std::vector<float> scales,
                   EditedModel& model);

struct ScalingRequest {
  std::function<WeightRounding(const StoredWeight&)> rounding_of;
  bool ffn_input_is_rotated = false;  // kActive is left alone: a rotation sits between s and 1/s
  std::function<Status(std::int64_t n_done, std::int64_t n_layers)> progress;  // may be empty
};

// Searches scales (quantize/awq.h) and scales every input that a linear in blocks reads. From the
// Hessians where the statistics have them, else from the mean squares. After other edits.
Status scale_inputs(const Checkpoint& checkpoint, const ScalingRequest& request,
                    EditedModel& model);

}  // namespace cria

// Recipes: how each weight matrix is stored and rounded, and what is done to the model before.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "quantize/rounding.h"
#include "tensor/encoding.h"

namespace cria {

// The part a weight plays. Vectors (norm gains, rope frequencies) are float32 in every recipe.
enum class WeightRole { kEmbedding, kHead, kKeys, kValues, kLinear };

// The role of a matrix by its canonical name: token_embd.weight (also the head when tied),
// output.weight, blk.N.attn_k.weight, blk.N.attn_v.weight, anything else.
WeightRole weight_role(std::string_view canonical_name);

// What one matrix becomes.
struct WeightRounding {
  Encoding encoding = Encoding::kF32;
  RoundingMethod method = RoundingMethod::kNearest;
  bool importance = false;  // the mean squares of the input weigh the errors in searches for scales
  bool clip = false;        // kNearest: large weights are cut off where the output gains (clip.h)
  bool operator==(const WeightRounding&) const = default;
};

// Exact changes of the whole model before its weights are rounded: they move numbers between
// weights (and add ops), and change the logits by float rounding only.
struct ModelTransforms {
  bool fold_norms = false;  // the gains of norms go into the linears behind them
  bool rotate = false;      // residual stream, values and, with int8 activations, ffn_down's input
  bool awq = false;         // inputs scaled so that the channels that matter lose less
  bool rotate_inputs = false;  // with rotate: the inputs of attn_output and ffn_down, too, whatever
                               // the activations
  bool operator==(const ModelTransforms&) const = default;
};

// `encoding` if the device takes it, else the same codes in the widest narrower blocks that it
// takes, else in the narrowest wider ones (32 to 128); `encoding` if there are none.
Encoding fitting_encoding(Encoding encoding, const std::function<bool(Encoding)>& takes);

// Changes whenever a name of a recipe gets another meaning; what was compiled before is stale.
inline constexpr int kRecipeVersion = 4;

// One recipe. Plain data: made by name, or member by member.
struct Recipe {
  // "q4_0", or with methods behind it, in any order: "q4_0+rotate+gptq". The encodings come from
  // the name, the methods (recipe_methods()) are for the linears. An encoding in wide blocks
  // ("q4g64", "q4c") is a recipe, too: all linears have it, and embedding and head 8 bits in the
  // same blocks. kInvalidArgument: an unknown part
  // (lists what there is), one given twice, or methods that do not go together.
  static Result<Recipe> from_name(std::string_view name);

  // What device and calibration have to say about the default recipes, q4 and q5; the others stay
  // as they are.
  //   has_statistics  linears are rounded by GPTQ, embedding and head with importance, unless a
  //                   method that uses statistics was named
  //   takes           whether the device takes an encoding; where it does not, the same codes in
  //                   other blocks take its place (fitting_encoding). Empty: it takes all.
  // Matrices in `overrides` are left alone. What changed for the device is in `adapted`.
  void adapt(bool has_statistics, const std::function<bool(Encoding)>& takes);

  std::string name;
  bool adaptive = false;
  std::string adapted;       // "q4nlg64 in place of q4nlk"; empty: nothing
  bool keep_source = false;  // each tensor in the encoding that holds it without loss
  WeightRounding linear;
  std::optional<Encoding> keys;    // of attn_k, which is rounded like other linears
  std::optional<Encoding> values;  // of attn_v, the same
  WeightRounding embedding;        // also of an untied head
  // Of single matrices, by canonical name; before `linear` and `embedding`, whatever keep_source.
  std::map<std::string, WeightRounding, std::less<>> overrides;
  ModelTransforms transforms;

  // `native`: the encoding that holds the weight as its checkpoint stores it.
  WeightRounding rounding_for(std::string_view canonical_name, Encoding native) const;
  Encoding encoding_for(std::string_view canonical_name, Encoding native) const {
    return rounding_for(canonical_name, native).encoding;
  }

  // Whether a matrix or a transformation asks for statistics (of any kind, or Hessians): a compile
  // without them is refused, and so is one with statistics that nothing asks for.
  bool uses_statistics() const;
  bool uses_hessians() const;
};

// All recipes with one line of description each, in the order of the help text.
struct RecipeSummary {
  const char* name;
  const char* summary;
};
const std::vector<RecipeSummary>& recipe_summaries();
// The methods that can follow a name after '+'.
const std::vector<RecipeSummary>& recipe_methods();

}  // namespace cria

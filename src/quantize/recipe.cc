#include "quantize/recipe.h"

#include <algorithm>
#include <string>

namespace cria {
namespace {

struct RecipeRow {
  RecipeSummary summary;
  Encoding linear;
  Encoding embedding;                   // also of an untied head
  std::optional<Encoding> keys = {};    // of attn_k, where not that of the linears
  std::optional<Encoding> values = {};  // of attn_v, the same
};

// "source" is not in the table: it depends on the tensor.
constexpr RecipeSummary kSource = {"source", "every tensor as the checkpoint stores it, no loss"};

// In most the head, which decides each token, and the embedding, which is read one row a token,
// keep 8 bits, in small ones 6. docs/quality.md says why q4 and q5, the defaults, are what they
// are.
constexpr RecipeRow kRecipes[] = {
    {{"q4",
      "default for 3B: 4-bit codebook (4.31), keys and values 5, GPTQ with --calibration; rest 6 "
      "bits"},
     Encoding::kQ4NlK,
     Encoding::kQ6G128,
     Encoding::kQ5,
     Encoding::kQ5G128},
    {{"q5", "default for 1B: 5 bits (5.5), GPTQ with --calibration; rest 6 bits"},
     Encoding::kQ5,
     Encoding::kQ6},
    {{"f32", "32-bit floats"}, Encoding::kF32, Encoding::kF32},
    {{"f16", "half floats"}, Encoding::kF16, Encoding::kF16},
    {{"bf16", "bfloat16"}, Encoding::kBF16, Encoding::kBF16},
    {{"q8", "8 bits, blocks of 32"}, Encoding::kQ8, Encoding::kQ8},
    {{"q6", "6 bits, blocks of 32; embedding and head 8 bits"}, Encoding::kQ6, Encoding::kQ8},
    {{"q5_0", "5 bits, blocks of 32; embedding and head 8 bits"}, Encoding::kQ5, Encoding::kQ8},
    {{"q5_1", "5 bits with a minimum; embedding and head 8 bits"}, Encoding::kQ5Min, Encoding::kQ8},
    {{"iq4_nl", "4-bit codebook, blocks of 32; embedding and head 8 bits"},
     Encoding::kQ4Nl,
     Encoding::kQ8},
    {{"q4_0", "4 bits linear, blocks of 32; embedding and head 8 bits"},
     Encoding::kQ4,
     Encoding::kQ8},
    {{"q4_1", "4 bits with a minimum; embedding and head 8 bits"}, Encoding::kQ4Min, Encoding::kQ8},
    {{"mxfp4", "4-bit floats, power-of-two scales; embedding and head 8 bits"},
     Encoding::kMxfp4,
     Encoding::kQ8},
    {{"q3", "3 bits, blocks of 32; embedding and head 6 bits"}, Encoding::kQ3, Encoding::kQ6},
    // Two levels of scales: bits a weight in brackets.
    {{"q6_k", "6 bits, blocks of 16 in 256 (6.56)"}, Encoding::kQ6K, Encoding::kQ6K},
    {{"q5_k", "5 bits with a minimum, 32 in 256 (5.63); embedding and head q6_k"},
     Encoding::kQ5KMin,
     Encoding::kQ6K},
    {{"q4_k", "4 bits with a minimum, 32 in 256 (4.63); embedding and head q6_k"},
     Encoding::kQ4KMin,
     Encoding::kQ6K},
    {{"iq4_xs", "4-bit codebook, 32 in 256 (4.31); embedding and head q6_k"},
     Encoding::kQ4NlK,
     Encoding::kQ6K},
    {{"q3_k", "3 bits, 16 in 256 (3.56); embedding and head q6_k"}, Encoding::kQ3K, Encoding::kQ6K},
    {{"q2_k", "2 bits with a minimum, 16 in 256 (3.13); embedding and head q6_k"},
     Encoding::kQ2KMin,
     Encoding::kQ6K},
    // Lattice codebooks: for rotated weights.
    {{"e8p4", "E8P, 4 bits, a scale a row; embedding and head q6_k"},
     Encoding::kE8P4,
     Encoding::kQ6K},
    {{"e8p3", "E8P, 3 bits, a scale a row; embedding and head q6_k"},
     Encoding::kE8P3,
     Encoding::kQ6K},
    {{"e8p2", "E8P, 2 bits, a scale a row; embedding and head q6_k"},
     Encoding::kE8P2,
     Encoding::kQ6K},
};

struct MethodRow {
  RecipeSummary summary;
  void (*apply)(Recipe& recipe);
};

constexpr MethodRow kMethods[] = {
    {{"importance", "scales that favour the inputs that matter (needs --calibration)"},
     [](Recipe& r) { r.linear.importance = r.embedding.importance = true; }},
    {{"gptq", "errors are pushed into columns not yet rounded (needs --calibration)"},
     [](Recipe& r) { r.linear.method = RoundingMethod::kGptq; }},
    {{"clip", "importance, and large weights cut off where the output gains (needs --calibration)"},
     [](Recipe& r) { r.linear.clip = r.linear.importance = true; }},
    {{"awq", "clip, and inputs scaled so that what matters loses less (needs --calibration)"},
     [](Recipe& r) { r.transforms.awq = r.linear.clip = r.linear.importance = true; }},
    {{"fold", "the gains of norms go into the linears behind them"},
     [](Recipe& r) { r.transforms.fold_norms = true; }},
    {{"rotate", "random rotations spread outliers; some run online"},
     [](Recipe& r) { r.transforms.rotate = true; }},
    {{"quip", "rotate, of every linear's input, and gptq: for e8p (needs --calibration)"},
     [](Recipe& r) {
       r.transforms.rotate = r.transforms.rotate_inputs = true;
       r.linear.method = RoundingMethod::kGptq;
     }},
};

template <std::size_t N, typename Row>
std::string names_of(const Row (&rows)[N]) {
  std::string names;
  for (const Row& row : rows) names += std::string(names.empty() ? "" : ", ") + row.summary.name;
  return names;
}

template <std::size_t N, typename Row>
std::vector<RecipeSummary> summaries_of(const Row (&rows)[N]) {
  std::vector<RecipeSummary> list;
  for (const Row& row : rows) list.push_back(row.summary);
  return list;
}

// "q4g64": what has blocks that no recipe of the table has.
std::optional<Recipe> wide_blocks(std::string_view name) {
  const std::optional<Encoding> encoding = encoding_from_name(name);
  if (!encoding) return std::nullopt;
  const EncodingSpec spec = encoding_spec(*encoding);
  const std::optional<Encoding> rest = encoding_with_block(Encoding::kQ8, spec.block);
  if (spec.block <= kColumnGroup || spec.code_columns() != 1 || !rest) return std::nullopt;
  Recipe recipe;
  recipe.linear.encoding = *encoding;
  recipe.embedding.encoding = *rest;
  return recipe;
}

Result<Recipe> named_encodings(std::string_view name) {
  Recipe recipe;
  if (name == kSource.name) {
    recipe.keep_source = true;
    return recipe;
  }
  for (const RecipeRow& row : kRecipes) {
    if (name != row.summary.name) continue;
    recipe.linear.encoding = row.linear;
    recipe.embedding.encoding = row.embedding;
    recipe.keys = row.keys;
    recipe.values = row.values;
    recipe.adaptive = name == "q4" || name == "q5";
    return recipe;
  }
  if (std::optional<Recipe> wide = wide_blocks(name)) return *std::move(wide);
  return invalid_argument(
      "recipe '{}' does not exist, expected one of {}, {}, or blocks of 64, 128 or a row, as "
      "q4g64, "
      "q4g128, q4c",
      name, kSource.name, names_of(kRecipes));
}

// One method behind a '+'. `seen`: those before it.
Status add_method(std::string_view method, std::vector<std::string_view>& seen, Recipe& recipe) {
  const auto* row = std::find_if(std::begin(kMethods), std::end(kMethods),
                                 [&](const MethodRow& r) { return method == r.summary.name; });
  if (row == std::end(kMethods)) {
    return invalid_argument("recipe '{}': method '{}' does not exist, expected one of {}",
                            recipe.name, method, names_of(kMethods));
  }
  if (std::find(seen.begin(), seen.end(), method) != seen.end()) {
    return invalid_argument("recipe '{}': method '{}' is given twice", recipe.name, method);
  }
  seen.push_back(method);
  row->apply(recipe);
  return Status();
}

Status check_methods(const Recipe& recipe) {
  if (recipe.keep_source) {
    return invalid_argument("recipe '{}': source keeps every tensor as it is, expected no method",
                            recipe.name);
  }
  if (encoding_spec(recipe.linear.encoding).dense() && recipe.uses_statistics()) {
    return invalid_argument(
        "recipe '{}': floats lose too little for methods that need statistics, expected an "
        "encoding in blocks",
        recipe.name);
  }
  if (recipe.transforms.awq && recipe.transforms.rotate_inputs) {
    return invalid_argument(
        "recipe '{}': inputs that quip turns have no channels for awq to favour, expected one of "
        "them",
        recipe.name);
  }
  return Status();
}

bool wants_statistics(const WeightRounding& rounding) {
  return rounding.importance || rounding.clip || rounding.method == RoundingMethod::kGptq;
}

}  // namespace

WeightRole weight_role(std::string_view canonical_name) {
  if (canonical_name == "token_embd.weight") return WeightRole::kEmbedding;
  if (canonical_name == "output.weight") return WeightRole::kHead;
  if (canonical_name.ends_with(".attn_k.weight")) return WeightRole::kKeys;
  if (canonical_name.ends_with(".attn_v.weight")) return WeightRole::kValues;
  return WeightRole::kLinear;
}

Encoding fitting_encoding(Encoding encoding, const std::function<bool(Encoding)>& takes) {
  if (takes(encoding)) return encoding;
  for (const int block : {64, 32}) {
    const std::optional<Encoding> narrower = plain_encoding(encoding, block);
    if (block < encoding_spec(encoding).block && narrower && takes(*narrower)) return *narrower;
  }
  for (const int block : {32, 64, 128}) {
    const std::optional<Encoding> wider = plain_encoding(encoding, block);
    if (block > encoding_spec(encoding).block && wider && takes(*wider)) return *wider;
  }
  return encoding;
}

Result<Recipe> Recipe::from_name(std::string_view name) {
  const std::size_t plus = name.find('+');
  CRIA_ASSIGN_OR_RETURN(Recipe recipe, named_encodings(name.substr(0, plus)));
  recipe.name = name;
  if (plus == name.npos) return recipe;
  std::vector<std::string_view> seen;
  for (std::size_t at = plus; at != name.npos;) {
    const std::size_t next = name.find('+', at + 1);
    CRIA_RETURN_IF_ERROR(add_method(name.substr(at + 1, next - at - 1), seen, recipe));
    at = next;
  }
  CRIA_RETURN_IF_ERROR(check_methods(recipe));
  return recipe;
}

WeightRounding Recipe::rounding_for(std::string_view canonical_name, Encoding native) const {
  if (const auto own = overrides.find(canonical_name); own != overrides.end()) return own->second;
  if (keep_source) return {.encoding = native};
  const WeightRole role = weight_role(canonical_name);
  if (role == WeightRole::kEmbedding || role == WeightRole::kHead) return embedding;
  WeightRounding rounding = linear;
  if (role == WeightRole::kKeys) rounding.encoding = keys.value_or(linear.encoding);
  if (role == WeightRole::kValues) rounding.encoding = values.value_or(linear.encoding);
  return rounding;
}

void Recipe::adapt(bool has_statistics, const std::function<bool(Encoding)>& takes) {
  if (!adaptive) return;
  if (has_statistics && !uses_statistics()) {
    linear.method = RoundingMethod::kGptq;
    embedding.importance = true;
  }
  if (!takes) return;
  for (Encoding* encoding : {&linear.encoding, keys ? &*keys : nullptr, values ? &*values : nullptr,
                             &embedding.encoding}) {
    if (encoding == nullptr) continue;
    const Encoding before = *encoding;
    *encoding = fitting_encoding(before, takes);
    if (*encoding == before) continue;
    adapted += std::string(adapted.empty() ? "" : ", ") + encoding_spec(*encoding).name +
               " in place of " + encoding_spec(before).name;
  }
}

bool Recipe::uses_statistics() const {
  return transforms.awq || wants_statistics(linear) || wants_statistics(embedding) ||
         std::any_of(overrides.begin(), overrides.end(),
                     [](const auto& own) { return wants_statistics(own.second); });
}

bool Recipe::uses_hessians() const {
  const auto needs = [](const WeightRounding& r) { return r.method == RoundingMethod::kGptq; };
  return needs(linear) || needs(embedding) ||
         std::any_of(overrides.begin(), overrides.end(),
                     [&](const auto& own) { return needs(own.second); });
}

const std::vector<RecipeSummary>& recipe_summaries() {
  static const std::vector<RecipeSummary> summaries = [] {
    std::vector<RecipeSummary> list = summaries_of(kRecipes);
    list.insert(list.begin(), kSource);
    return list;
  }();
  return summaries;
}

const std::vector<RecipeSummary>& recipe_methods() {
  static const std::vector<RecipeSummary> summaries = summaries_of(kMethods);
  return summaries;
}

}  // namespace cria

// The one file of this folder that includes toml++, which is slow to compile.
#include "quantize/recipe_file.h"

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/quote.h"

namespace cria {
namespace {

constexpr std::int64_t kMostLayers = 1 << 16;

struct MethodName {
  const char* name;
  RoundingMethod method;
};
constexpr MethodName kMethodNames[] = {{"nearest", RoundingMethod::kNearest},
                                       {"gptq", RoundingMethod::kGptq}};

// "blk.3.ffn_up.weight": block 3, "ffn_up". Outside of blocks: no block, "token_embd".
struct MatrixName {
  std::optional<std::int64_t> layer;
  std::string_view tensor;
};

MatrixName split_name(std::string_view name) {
  constexpr std::string_view kBlock = "blk.", kWeight = ".weight";
  MatrixName split;
  if (name.ends_with(kWeight)) name.remove_suffix(kWeight.size());
  split.tensor = name;
  if (!name.starts_with(kBlock)) return split;
  std::int64_t layer = 0;
  const char* first = name.data() + kBlock.size();
  const auto [end, error] = std::from_chars(first, name.data() + name.size(), layer);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return split;
  split.layer = layer;
  split.tensor = name.substr(static_cast<std::size_t>(end + 1 - name.data()));
  return split;
}

// `*` stands for any text. Linear in the product of the lengths at worst.
bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, retry = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool in_ranges(const std::vector<LayerRange>& ranges, std::int64_t layer, std::int64_t n_layers) {
  const auto from_start = [&](std::int64_t n) { return n < 0 ? n_layers + n : n; };
  return std::any_of(ranges.begin(), ranges.end(), [&](const LayerRange& range) {
    return from_start(range.first) <= layer && layer <= from_start(range.last);
  });
}

bool applies(const RecipeRule& rule, const MatrixName& name, std::int64_t n_layers) {
  if (!matches(rule.tensors, name.tensor)) return false;
  if (rule.layers.empty()) return true;
  return name.layer && in_ranges(rule.layers, *name.layer, n_layers);
}

// Reads the tables of one file; errors say where.
class Reader {
 public:
  explicit Reader(std::string_view what) : what_(what) {}

  Result<RecipeFile> read(const toml::table& root) const {
    CRIA_RETURN_IF_ERROR(check_keys(root, what_, {"base", "rule"}));
    RecipeFile file;
    CRIA_ASSIGN_OR_RETURN(const std::string base, text_of(root, "base", what_));
    CRIA_ASSIGN_OR_RETURN(file.base, base_recipe(base));
    const toml::node* rules = root.get("rule");
    if (rules == nullptr) return file;
    const toml::array* list = rules->as_array();
    if (list == nullptr) return bad_input("{}: 'rule' is no list, expected [[rule]]", what_);
    for (std::size_t i = 0; i < list->size(); ++i) {
      const std::string where = fmt::format("{}, rule {}", what_, i + 1);
      const toml::table* table = list->get(i)->as_table();
      if (table == nullptr) return bad_input("{}: no table, expected [[rule]]", where);
      CRIA_ASSIGN_OR_RETURN(RecipeRule rule, read_rule(*table, where));
      file.rules.push_back(std::move(rule));
    }
    return file;
  }

 private:
  Result<Recipe> base_recipe(const std::string& name) const {
    Result<Recipe> recipe = Recipe::from_name(name);
    if (recipe.ok()) return recipe;
    return bad_input("{}, base: {}", what_, recipe.status().message());
  }

  static Status check_keys(const toml::table& table, const std::string& where,
                           std::initializer_list<std::string_view> known) {
    for (const auto& [key, node] : table) {
      if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
      std::string names;
      for (std::string_view name : known)
        names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
      return bad_input("{}: key {} is not known, expected {}", where, quote(key.str()), names);
    }
    return Status();
  }

  static Result<std::string> text_of(const toml::table& table, std::string_view key,
                                     const std::string& where) {
    const toml::node* node = table.get(key);
    if (node == nullptr) return bad_input("{}: '{}' is missing", where, key);
    const auto* text = node->as_string();
    if (text == nullptr) return bad_input("{}: '{}' is no text", where, key);
    return text->get();
  }

  static Result<RecipeRule> read_rule(const toml::table& table, const std::string& where) {
    CRIA_RETURN_IF_ERROR(
        check_keys(table, where, {"tensors", "layers", "encoding", "method", "importance"}));
    RecipeRule rule;
    CRIA_ASSIGN_OR_RETURN(rule.tensors, text_of(table, "tensors", where));
    CRIA_RETURN_IF_ERROR(read_layers(table, where, rule));
    CRIA_RETURN_IF_ERROR(read_rounding(table, where, rule));
    if (!rule.encoding && !rule.method && !rule.importance) {
      return bad_input("{}: changes nothing, expected encoding, method or importance", where);
    }
    return rule;
  }

  static Status read_rounding(const toml::table& table, const std::string& where,
                              RecipeRule& rule) {
    if (table.contains("encoding")) {
      CRIA_ASSIGN_OR_RETURN(const std::string name, text_of(table, "encoding", where));
      rule.encoding = encoding_from_name(name);
      if (!rule.encoding) {
        std::string names;
        for (const EncodingSpec& spec : kEncodingTable) names += std::string(" ") + spec.name;
        return bad_input("{}: encoding {} does not exist, expected one of{}", where, quote(name),
                         names);
      }
    }
    if (table.contains("method")) {
      CRIA_ASSIGN_OR_RETURN(const std::string name, text_of(table, "method", where));
      for (const MethodName& row : kMethodNames) {
        if (name == row.name) rule.method = row.method;
      }
      if (!rule.method) {
        return bad_input("{}: method {} does not exist, expected nearest or gptq", where,
                         quote(name));
      }
    }
    if (const toml::node* node = table.get("importance")) {
      const auto* flag = node->as_boolean();
      if (flag == nullptr) return bad_input("{}: 'importance' is neither true nor false", where);
      rule.importance = flag->get();
    }
    return Status();
  }

  static Status read_layers(const toml::table& table, const std::string& where, RecipeRule& rule) {
    const toml::node* node = table.get("layers");
    if (node == nullptr) return Status();
    const toml::array* list = node->as_array();
    if (list == nullptr || list->empty()) {
      return bad_input("{}: 'layers' is no list with something in it", where);
    }
    for (const toml::node& item : *list) {
      CRIA_ASSIGN_OR_RETURN(const LayerRange range, read_range(item, where));
      rule.layers.push_back(range);
    }
    return Status();
  }

  // A number, or "first-last".
  static Result<LayerRange> read_range(const toml::node& item, const std::string& where) {
    LayerRange range;
    if (const auto* number = item.as_integer()) {
      range = {number->get(), number->get()};
    } else if (const auto* text = item.as_string()) {
      const std::string& s = text->get();
      const char* end = s.data() + s.size();
      const auto first = std::from_chars(s.data(), end, range.first);
      if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') {
        return bad_input("{}: layers {}, expected \"first-last\"", where, quote(s));
      }
      const auto last = std::from_chars(first.ptr + 1, end, range.last);
      if (last.ec != std::errc() || last.ptr != end || range.first < 0 ||
          range.last < range.first) {
        return bad_input("{}: layers {}, expected \"first-last\"", where, quote(s));
      }
    } else {
      return bad_input("{}: 'layers' has an item that is neither a number nor a text", where);
    }
    if (std::max(std::abs(range.first), std::abs(range.last)) > kMostLayers) {
      return bad_input("{}: layer {} is out of range", where, range.first);
    }
    return range;
  }

  std::string what_;
};

// A rule of recipe_file_text(): layers that have the same.
struct TextRule {
  std::string_view tensor;
  WeightRounding rounding;
  std::vector<std::int64_t> layers;
};

// {0, 1, 2, 5} -> "\"0-2\", 5"
std::string layer_ranges(std::vector<std::int64_t>& layers) {
  std::sort(layers.begin(), layers.end());
  std::string text;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t end = i + 1;
    while (end < layers.size() && layers[end] == layers[end - 1] + 1) ++end;
    text += text.empty() ? "" : ", ";
    text += end == i + 1 ? fmt::format("{}", layers[i])
                         : fmt::format("\"{}-{}\"", layers[i], layers[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace

bool is_recipe_file(std::string_view name) { return name.ends_with(".toml"); }

Result<RecipeFile> parse_recipe_file(std::string_view text, std::string_view what) {
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    const toml::source_position at = parsed.error().source().begin;
    return bad_input("{}, line {}, column {}: {}", what, at.line, at.column,
                     parsed.error().description());
  }
  return Reader(what).read(parsed.table());
}

Result<Recipe> recipe_for(const RecipeFile& file, std::span<const std::string> matrix_names,
                          std::int64_t n_layers, std::string_view what) {
  Recipe recipe = file.base;
  recipe.name = what;
  std::set<std::string_view> named_encoding;
  for (std::size_t i = 0; i < file.rules.size(); ++i) {
    const RecipeRule& rule = file.rules[i];
    bool named_any = false;
    for (const std::string& name : matrix_names) {
      if (!applies(rule, split_name(name), n_layers)) continue;
      named_any = true;
      if (recipe.keep_source && !rule.encoding && !recipe.overrides.contains(name)) {
        return bad_input("{}, rule {}: {} keeps its source encoding, expected an encoding", what,
                         i + 1, name);
      }
      WeightRounding rounding = recipe.rounding_for(name, Encoding::kF32);
      if (rule.encoding) {
        rounding.encoding = *rule.encoding;
        named_encoding.insert(name);
      }
      if (rule.method) rounding.method = *rule.method;
      if (rule.importance) rounding.importance = *rule.importance;
      recipe.overrides[name] = rounding;
    }
    if (!named_any) {
      return bad_input(
          "{}, rule {}: names no tensor of the model ({}{} of its {} layers); there are "
          "token_embd, attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down "
          "and, where it is not tied, output",
          what, i + 1, quote(rule.tensors), rule.layers.empty() ? "" : " in the given layers",
          n_layers);
    }
  }
  if (named_encoding.size() == matrix_names.size()) recipe.adapted.clear();  // of no matrix
  return recipe;
}

std::string recipe_file_text(const Recipe& recipe) {
  std::vector<TextRule> rules;
  for (const auto& [name, rounding] : recipe.overrides) {
    const MatrixName split = split_name(name);
    const bool in_block = split.layer.has_value();
    auto rule = std::find_if(rules.begin(), rules.end(), [&](const TextRule& r) {
      return r.tensor == split.tensor && r.layers.empty() != in_block && r.rounding == rounding;
    });
    if (rule == rules.end()) rule = rules.insert(rules.end(), {split.tensor, rounding, {}});
    if (in_block) rule->layers.push_back(*split.layer);
  }
  std::string text = fmt::format("base = \"{}\"\n", recipe.name);
  for (TextRule& rule : rules) {
    text += fmt::format("\n[[rule]]\ntensors = \"{}\"\n", rule.tensor);
    if (!rule.layers.empty()) text += fmt::format("layers = [{}]\n", layer_ranges(rule.layers));
    const auto* method =
        std::find_if(std::begin(kMethodNames), std::end(kMethodNames),
                     [&](const MethodName& row) { return row.method == rule.rounding.method; });
    text += fmt::format("encoding = \"{}\"\nmethod = \"{}\"\nimportance = {}\n",
                        encoding_spec(rule.rounding.encoding).name, method->name,
                        rule.rounding.importance);
  }
  return text;
}

}  // namespace cria

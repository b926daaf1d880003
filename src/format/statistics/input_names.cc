#include "format/statistics/input_names.h"

#include <algorithm>

#include "base/quote.h"

namespace cria {
namespace {

struct Reader {
  std::string_view weight;
  std::string_view input;
};
constexpr Reader kLayerReaders[] = {
    {"attn_q", "attn_in"},         {"attn_k", "attn_in"},  {"attn_v", "attn_in"},
    {"attn_output", "attn_mixed"}, {"ffn_gate", "ffn_in"}, {"ffn_up", "ffn_in"},
    {"ffn_down", "ffn_active"},
};

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Result<std::string> input_of_weight(std::string_view weight_name) {
  constexpr std::string_view kLayer = "blk.", kWeight = ".weight";
  if (weight_name == "output.weight" || weight_name == "token_embd.weight") {
    return std::string("output_in");
  }
  const std::size_t dot = weight_name.find('.', kLayer.size());
  if (weight_name.starts_with(kLayer) && weight_name.ends_with(kWeight) &&
      dot != std::string_view::npos && dot + 1 + kWeight.size() <= weight_name.size() &&
      is_number(weight_name.substr(kLayer.size(), dot - kLayer.size()))) {
    std::string_view name = weight_name.substr(dot + 1);
    name.remove_suffix(kWeight.size());
    const auto found = std::ranges::find(kLayerReaders, name, &Reader::weight);
    if (found != std::end(kLayerReaders)) {
      return fmt::format("{}.{}", weight_name.substr(0, dot), found->input);
    }
  }
  return not_found("{} is no weight of a linear", quote(weight_name));
}

}  // namespace cria

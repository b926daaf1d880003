#include "format/pte/call_order.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "base/quote.h"
#include "format/pte/program_builder.h"

namespace cria::pte {

CompileSpec call_order_spec(std::span<const std::size_t> after) {
  return text_spec(std::string(kCallOrderSpec), fmt::format("{}", fmt::join(after, ",")));
}

Result<std::optional<std::vector<std::size_t>>> read_call_order(const BackendDelegate& delegate,
                                                                std::size_t n_earlier) {
  const auto spec = std::ranges::find(delegate.compile_specs, kCallOrderSpec, &CompileSpec::key);
  if (spec == delegate.compile_specs.end()) return std::optional<std::vector<std::size_t>>();
  const std::string_view text(reinterpret_cast<const char*>(spec->value.data()),
                              spec->value.size());
  std::vector<std::size_t> calls;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view number = rest.substr(0, rest.find(','));
    std::size_t call = n_earlier;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), call);
    const bool whole = error == std::errc() && end == number.data() + number.size();
    const bool ends_in_comma = number.size() + 1 == rest.size();
    if (!whole || call >= n_earlier || ends_in_comma) {
      return bad_input(
          "call {} of a method: compile spec {} is {}, expected earlier calls, as "
          "\"0,2\"",
          n_earlier, kCallOrderSpec, quote(text));
    }
    calls.push_back(call);
    rest.remove_prefix(std::min(number.size() + 1, rest.size()));
  }
  return std::optional(std::move(calls));
}

}  // namespace cria::pte

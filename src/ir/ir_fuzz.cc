// Any text: the parser answers with a graph or an error, and what it accepts prints to a text that
// parses to the same graph.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "ir/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using cria::ir::parse_graph;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto graph = parse_graph(text);
  if (!graph.ok()) return 0;
  const std::string printed = print_graph(*graph);
  const auto again = parse_graph(printed);
  if (!again.ok() || print_graph(*again) != printed) std::abort();
  return 0;
}

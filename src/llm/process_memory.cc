#include "llm/process_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

namespace cria {
namespace {

// Bytes of a line "<field>   123 kB"; 0 if there is none.
std::uint64_t field_bytes(std::string_view text, std::string_view field) {
  const std::size_t start = text.find(field);
  if (start == std::string_view::npos) return 0;
  std::string_view rest = text.substr(start + field.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  std::uint64_t kib = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), kib);
  return kib * 1024;
}

}  // namespace

ProcessMemory parse_process_status(std::string_view text) {
  return {field_bytes(text, "RssAnon:"), field_bytes(text, "RssFile:")};
}

ProcessMemory process_memory() {
  std::ifstream file("/proc/self/status");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  return parse_process_status(text);
}

}  // namespace cria

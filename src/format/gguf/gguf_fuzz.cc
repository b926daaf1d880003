#include <cstdlib>

#include "format/fuzz_patches.h"
#include "format/gguf/gguf.h"
#include "format/gguf/gguf_builder.h"

namespace {

const std::string& valid_file() {
  static const std::string file = [] {
    cria::GgufBuilder builder;
    builder.text("general.architecture", "llama").u32("general.alignment", 32);
    builder.f32("f", 1.5F).boolean("b", true).u64("u", 7);
    builder.texts("tokens", {"a", "bc", ""}).i32s("types", {1, 2, 3});
    builder.tensor("a", 0, {8, 2}, std::string(64, 'x'));
    builder.tensor("b", 2, {32, 1, 2}, std::string(36, 'y'));
    return builder.build();
  }();
  return file;
}

// Touches everything that a parsed file points at.
void parse_and_walk(std::span<const std::byte> bytes) {
  const auto file = cria::GgufFile::parse(bytes, "fuzz.gguf");
  if (!file.ok()) {
    if (file.status().message().empty()) std::abort();
    return;
  }
  std::size_t sum = 0;
  for (const auto& entry : file->metadata()) {
    sum += entry.key.size() + entry.value.to_string(200).size();
    sum += entry.value.integer().has_value() + entry.value.number().has_value();
    if (const auto texts = entry.value.texts()) sum += texts->size();
    if (const auto integers = entry.value.integers()) sum += integers->size();
    if (const auto numbers = entry.value.numbers()) sum += numbers->size();
  }
  for (const auto& tensor : file->tensors()) {
    sum += std::to_integer<std::size_t>(tensor.bytes.front() ^ tensor.bytes.back());
    if (file->find_tensor(tensor.name) != &tensor) std::abort();
  }
  if (sum == SIZE_MAX) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  cria::for_each_patched(valid_file(), {data, size}, parse_and_walk);
  return 0;
}

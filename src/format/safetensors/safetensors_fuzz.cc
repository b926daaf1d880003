#include <cstdlib>

#include "format/fuzz_patches.h"
#include "format/safetensors/safetensors.h"
#include "format/safetensors/safetensors_builder.h"

namespace {

const std::string& valid_file() {
  static const std::string file = cria::SafetensorsBuilder()
                                      .tensor("a", "F32", {2, 3}, std::string(24, 'a'))
                                      .tensor("b", "BF16", {4}, std::string(8, 'b'))
                                      .tensor("c", "I16", {3}, std::string(6, 'c'))
                                      .build();
  return file;
}

// Touches everything that a parsed file points at.
void parse_and_walk(std::span<const std::byte> bytes) {
  const auto file = cria::SafetensorsFile::parse(bytes, "fuzz.safetensors");
  if (!file.ok()) {
    if (file.status().message().empty()) std::abort();
    return;
  }
  std::size_t sum = 0;
  for (const auto& tensor : file->tensors()) {
    if (file->find_tensor(tensor.name) != &tensor) std::abort();
    for (const std::byte byte : tensor.bytes) sum += std::to_integer<std::size_t>(byte);
  }
  if (sum == SIZE_MAX) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  cria::for_each_patched(valid_file(), {data, size}, parse_and_walk);
  return 0;
}

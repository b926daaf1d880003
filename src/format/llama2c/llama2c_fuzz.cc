#include <cstdlib>

#include "format/fuzz_patches.h"
#include "format/llama2c/llama2c.h"
#include "format/llama2c/llama2c_builder.h"

namespace {

// Touches everything that a parsed file points at.
void parse_and_walk(std::span<const std::byte> bytes) {
  cria::recognizes_llama2c(bytes);
  const auto file = cria::parse_llama2c(bytes, "fuzz.bin");
  if (!file.ok()) {
    if (file.status().message().empty()) std::abort();
    return;
  }
  std::size_t sum = 0;
  for (const auto& tensor : file->tensors) {
    if (tensor.bytes.size() != static_cast<std::size_t>(tensor.n_rows * tensor.n_cols) * 4) {
      std::abort();
    }
    for (const std::byte byte : tensor.bytes) sum += std::to_integer<std::size_t>(byte);
  }
  if (sum == SIZE_MAX) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const int version : {0, 1}) {
    static const std::string files[] = {
        cria::llama2c_bytes({.dim = 4, .hidden_dim = 4, .n_layers = 1, .n_heads = 2}, 0),
        cria::llama2c_bytes({.dim = 4, .hidden_dim = 4, .n_layers = 1, .n_heads = 2}, 1)};
    cria::for_each_patched(files[version], {data, size}, parse_and_walk);
  }
  return 0;
}

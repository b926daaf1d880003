// Configs from both of their file formats; whatever is accepted must be valid.
#include <cstdlib>

#include "format/fuzz_patches.h"
#include "model/checkpoint_for_test.h"
#include "model/expected_weights.h"
#include "model/gguf_config.h"
#include "model/hf_config.h"

namespace {

void check(const cria::LlamaConfig& config) {
  if (!cria::validate_config(config).ok()) std::abort();
  if (cria::expected_weights(config).empty()) std::abort();
}

void read_hf(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto read = cria::read_hf_config(text, "config.json");
  if (read.ok()) check(read->config);
}

void read_gguf(std::span<const std::byte> bytes) {
  const auto file = cria::GgufFile::parse(bytes, "m.gguf");
  if (!file.ok() || !cria::check_gguf_architecture(*file).ok()) return;
  const auto config = cria::read_gguf_config(*file, 10);
  if (config.ok()) check(*config);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string json = cria::small_config_json();
  static const std::string gguf = [] {
    std::string file = cria::small_gguf().build();
    return file.substr(0, file.find("token_embd.weight") - 8).replace(8, 8, 8, '\0');
  }();
  cria::for_each_patched(json, {data, size}, read_hf);
  cria::for_each_patched(gguf, {data, size}, read_gguf);
  return 0;
}

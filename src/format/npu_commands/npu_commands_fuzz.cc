// Streams that nobody vouches for: bytes as they are, and as edits of a valid stream.
#include <string>

#include "format/fuzz_patches.h"
#include "format/npu_commands/npu_example.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string valid = [] {
    const std::vector<std::byte> bytes = cria::encode_npu_commands(cria::example_npu_commands());
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }();
  cria::for_each_patched(valid, {data, size}, [](std::span<const std::byte> bytes) {
    const auto commands = cria::decode_npu_commands(bytes, "fuzz");
    if (commands.ok()) cria::encode_npu_commands(*commands);
  });
  return 0;
}

#include <cstdlib>
#include <cstring>

#include "tokenizer/fuzz_check.h"
#include "tokenizer/tokenizer_testing.h"

// Four bytes each (offset in 24 bits, value) change a good block; then it is used.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::byte> good =
      cria::Tokenizer::build(cria::tiny_vocabulary())->serialize();
  std::vector<std::byte> bytes = good;
  for (std::size_t i = 0; i + 4 <= size; i += 4) {
    const std::size_t at = data[i] | data[i + 1] << 8 | data[i + 2] << 16;
    bytes[at % bytes.size()] = static_cast<std::byte>(data[i + 3]);
  }
  if (size % 4 != 0) bytes.resize(bytes.size() - data[size - 1]);
  const auto tokenizer = cria::Tokenizer::load(bytes, "fuzz");
  if (!tokenizer.ok()) return 0;
  const auto ids = tokenizer->encode("the hello and 123 aaaa <|eot_id|>\n\xc3\xa9\xff");
  if (!ids.ok()) std::abort();
  for (const std::int32_t id : *ids) {
    if (id < 0 || id >= tokenizer->n_vocab()) std::abort();
  }
  tokenizer->decode(*ids, true);
  tokenizer->token_id("<|eot_id|>");
  return 0;
}

#include "tokenizer/fuzz_check.h"
#include "tokenizer/llama2c.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto vocabulary = cria::read_llama2c_vocabulary(bytes, "fuzz");
  if (vocabulary.ok()) cria::check_vocabulary_works(*vocabulary);
  return 0;
}

#include "tokenizer/fuzz_check.h"
#include "tokenizer/tiktoken.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  cria::is_tiktoken(text);
  const auto vocabulary = cria::read_tiktoken_vocabulary(text, "fuzz");
  if (vocabulary.ok()) cria::check_vocabulary_works(*vocabulary);
  return 0;
}

#include "tokenizer/fuzz_check.h"
#include "tokenizer/hf_json.h"

// The input is tokenizer.json; what follows a NUL byte is used for the other files.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const std::string_view rest =
      end == std::string_view::npos ? std::string_view() : input.substr(end + 1);
  const auto vocabulary =
      cria::read_hf_vocabulary({input.substr(0, end), rest, rest, rest, ""}, "fuzz");
  if (vocabulary.ok()) cria::check_vocabulary_works(*vocabulary);
  return 0;
}

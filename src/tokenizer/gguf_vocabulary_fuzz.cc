#include "tokenizer/fuzz_check.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/gpt2_bytes.h"

// Lines: the first character says what a line is, a digit: a token of that type, 'm': a merge,
// 'b': the begin token, 'l': a llama tokenizer instead of a gpt2 one. All bytes are tokens anyway.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const bool llama = rest.starts_with('l');
  std::vector<std::string> tokens, merges;
  std::vector<std::int32_t> types;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    tokens.push_back(llama ? fmt::format("<0x{:02X}>", byte)
                           : cria::bytes_to_gpt2_spelling({&c, 1}));
    types.push_back(llama ? 6 : 1);
  }
  cria::GgufTokenizer gguf;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.empty()) continue;
    if (line[0] == 'm') {
      merges.emplace_back(line.substr(1));
    } else if (line[0] == 'b') {
      gguf.bos_id = static_cast<std::int64_t>(line.size()) - 2;
    } else {
      tokens.emplace_back(line.substr(1));
      types.push_back(line[0] - '0');
    }
  }
  std::vector<float> scores;
  for (std::size_t i = 0; i < tokens.size(); ++i) scores.push_back(static_cast<float>(i % 7));
  gguf.model = llama ? "llama" : "gpt2";
  gguf.pre = "llama-bpe";
  gguf.tokens = tokens;
  gguf.token_types = types;
  gguf.merges = merges;
  gguf.scores = scores;
  const auto vocabulary = cria::read_gguf_vocabulary(gguf, "fuzz");
  if (vocabulary.ok()) cria::check_vocabulary_works(*vocabulary);
  return 0;
}

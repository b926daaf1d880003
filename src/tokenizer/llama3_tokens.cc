#include "tokenizer/llama3_tokens.h"

#include <fmt/format.h>

#include <algorithm>

namespace cria {

std::vector<std::string> llama3_special_tokens() {
  std::vector<std::string> tokens = {"<|begin_of_text|>",
                                     "<|end_of_text|>",
                                     "<|reserved_special_token_0|>",
                                     "<|reserved_special_token_1|>",
                                     "<|finetune_right_pad_id|>",
                                     "<|reserved_special_token_2|>",
                                     "<|start_header_id|>",
                                     "<|end_header_id|>",
                                     "<|eom_id|>",
                                     "<|eot_id|>",
                                     "<|python_tag|>"};
  for (int i = 3; static_cast<int>(tokens.size()) < kLlama3SpecialTokens; ++i) {
    tokens.push_back(fmt::format("<|reserved_special_token_{}|>", i));
  }
  return tokens;
}

void add_llama3_end_tokens(Vocabulary& vocabulary) {
  auto& eos_ids = vocabulary.eos_ids;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const Token& token = vocabulary.tokens[i];
    if (token.kind != TokenKind::kSpecial) continue;
    if (token.bytes != "<|end_of_text|>" && token.bytes != "<|eom_id|>" &&
        token.bytes != "<|eot_id|>") {
      continue;
    }
    const auto id = static_cast<std::int32_t>(i);
    if (std::find(eos_ids.begin(), eos_ids.end(), id) == eos_ids.end()) eos_ids.push_back(id);
  }
}

}  // namespace cria

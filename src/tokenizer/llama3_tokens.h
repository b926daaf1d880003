// The special tokens that Llama 3 models share.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace cria {

inline constexpr int kLlama3SpecialTokens = 256;

// Their texts in Meta's order; the first has the id that follows the ranks of tokenizer.model.
std::vector<std::string> llama3_special_tokens();

// Adds <|end_of_text|>, <|eom_id|> and <|eot_id|> to the end tokens, where they exist as special
// tokens: files list one of them at times, and a model then never stops.
void add_llama3_end_tokens(Vocabulary& vocabulary);

}  // namespace cria

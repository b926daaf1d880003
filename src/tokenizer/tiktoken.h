// Llama 3's `tokenizer.model`: lines of "base64-of-the-bytes rank".
#pragma once

#include <string_view>

#include "base/result.h"
#include "tokenizer/vocabulary.h"

namespace cria {

// Whether `text` looks like such a file (its first line does). Cheap.
bool is_tiktoken(std::string_view text);

// The vocabulary, with Llama 3's 256 special tokens after the ranks, in Meta's order. `what` names
// the file in errors.
Result<Vocabulary> read_tiktoken_vocabulary(std::string_view text, std::string_view what);

}  // namespace cria

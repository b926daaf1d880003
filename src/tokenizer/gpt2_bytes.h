// The spelling of bytes as printable characters that byte-level BPE files use (GPT-2's).
//
// Bytes that print in Latin-1 stand for themselves, the other 68 for U+0100 and up in order; a
// space is written U+0120. Hugging Face and GGUF vocabularies spell all normal tokens like this.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace cria {

// The bytes that `spelling` (UTF-8) stands for. kBadInput when a character stands for none.
Result<std::string> gpt2_spelling_to_bytes(std::string_view spelling);

// The UTF-8 spelling of any bytes.
std::string bytes_to_gpt2_spelling(std::string_view bytes);

}  // namespace cria

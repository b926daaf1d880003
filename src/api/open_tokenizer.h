// The tokenizer that a compiled program carries.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"

namespace cria {

class Program;
class Tokenizer;

inline constexpr std::string_view kTokenizerKey = "tokenizer";

// Reads the program's named data in place; the result keeps the program alive. kNotFound if it has
// none.
Result<std::shared_ptr<const Tokenizer>> program_tokenizer(
    const std::shared_ptr<const Program>& program);

}  // namespace cria

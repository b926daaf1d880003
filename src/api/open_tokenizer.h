// The tokenizer that a compiled program carries.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cria {

class Checkpoint;
class Program;
class Tokenizer;

inline constexpr std::string_view kTokenizerKey = "tokenizer";

// Reads the program's named data in place; the result keeps the program alive. kNotFound if it has
// none.
Result<std::shared_ptr<const Tokenizer>> program_tokenizer(
    const std::shared_ptr<const Program>& program);

// Of a checkpoint's vocabulary. `path` is for messages. kNotFound if it has none; what is wrong
// with it.
Result<Tokenizer> checkpoint_tokenizer(const Checkpoint& checkpoint, const std::string& path);

}  // namespace cria

// llama2.c's tokenizer file (`tokenizer.bin`, `tok512.bin`):
// i32 longest token in bytes, then for each token f32 score, i32 length, the bytes. Ids 0, 1 and 2
// are <unk>, <s> and </s>, ids 3 to 258 the bytes, as in SentencePiece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "tokenizer/vocabulary.h"

namespace cria {

// The file does not say how many tokens it holds: all until its end are read, and `n_vocab` >= 0
// (the model's) is compared with their number. `what` names the file in errors.
Result<Vocabulary> read_llama2c_vocabulary(std::span<const std::byte> bytes, std::string_view what,
                                           std::int32_t n_vocab = -1);

}  // namespace cria

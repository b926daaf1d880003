// Vocabularies from wherever a checkpoint keeps them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "format/gguf/gguf.h"
#include "tokenizer/vocabulary.h"

namespace cria {

using VocabularyPointer = std::shared_ptr<const Vocabulary>;

// All three: null when there is no tokenizer there at all, an error when there is one that cannot
// be used.
Result<VocabularyPointer> gguf_vocabulary(const GgufFile& file);

// tokenizer.json with its companions, else a tiktoken tokenizer.model.
Result<VocabularyPointer> folder_vocabulary(const std::string& folder);

// The tokenizer beside a llama2.c model: the one tok*.bin that holds `n_vocab` tokens. kBadInput
// lists them when there are several.
Result<VocabularyPointer> llama2c_vocabulary_beside(const std::string& model_path,
                                                    std::int64_t n_vocab);

// A whole text file (of at most 256 MiB); empty when it does not exist.
Result<std::string> read_text_if_exists(const std::string& path);

// A checkpoint's vocabulary may not have ids that the embedding lacks. `what` names the checkpoint.
Status check_vocabulary_size(const VocabularyPointer& vocabulary, std::int64_t n_vocab,
                             const std::string& what);

}  // namespace cria

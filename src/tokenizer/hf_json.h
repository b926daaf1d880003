// The tokenizer of a Hugging Face folder.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "tokenizer/vocabulary.h"

namespace cria {

// The texts of the files; all but the first may be empty, which means that there is no such file.
struct HfTokenizerFiles {
  std::string_view tokenizer_json;
  std::string_view tokenizer_config_json;   // bos_token, eos_token, chat_template, add_bos_token
  std::string_view generation_config_json;  // bos_token_id, eos_token_id (a number or a list)
  std::string_view config_json;             // the same two, used where the former does not say
  std::string_view chat_template_jinja;     // newer folders keep the template in its own file
};

// A byte-level BPE vocabulary with Llama 3's pre-tokenizer; anything else is kUnsupported by name.
// All end tokens of Llama 3 that exist are end tokens, whatever the files list.
// `what` names the folder in errors.
Result<Vocabulary> read_hf_vocabulary(const HfTokenizerFiles& files, std::string_view what);

}  // namespace cria

// From what a person types to files: paths and Hugging Face ids.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "tokenizer/vocabulary.h"

namespace cria {

// An existing path comes back as it is. Otherwise `org/name` or `org/name@revision` is looked up in
// the local Hugging Face cache; nothing is ever downloaded. The cache is $HF_HUB_CACHE, else
// $HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub. The revision (default `main`) is a branch, a tag, or a commit of 40
// hexadecimal digits. kNotFound says which cache folder was searched and what it has of the model.
// A folder, given or found, that has no model.safetensors* but one GGUF model becomes the path of
// its (first) file; several are kInvalidArgument, which lists them.
Result<std::string> resolve_model(const std::string& path_or_id);

// The vocabulary alone, from a folder (tokenizer files suffice), a tokenizer.json, a tiktoken
// tokenizer.model, a GGUF file or a llama2.c tokenizer `.bin`, by looking at the content. kNotFound
// when the path does not exist or brings no tokenizer. `path` is resolved before (resolve_model).
Result<std::shared_ptr<const Vocabulary>> open_vocabulary(const std::string& path);

}  // namespace cria

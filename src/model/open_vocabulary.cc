#include <filesystem>

#include "base/mapped_file.h"
#include "format/gguf/gguf_parts.h"
#include "format/llama2c/llama2c.h"
#include "format/safetensors/safetensors.h"
#include "model/resolve.h"
#include "model/vocabulary_files.h"
#include "tokenizer/hf_json.h"
#include "tokenizer/llama2c.h"
#include "tokenizer/tiktoken.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

Result<VocabularyPointer> shared(Result<Vocabulary> vocabulary) {
  if (!vocabulary.ok()) return std::move(vocabulary).status();
  return VocabularyPointer(std::make_shared<const Vocabulary>(std::move(vocabulary).value()));
}

// A tokenizer.json by that name has its companions beside it; under another name it stands alone.
Result<VocabularyPointer> open_json(const std::string& path, std::string_view text) {
  const fs::path file(path);
  if (file.filename() == "tokenizer.json") {
    return folder_vocabulary(file.has_parent_path() ? file.parent_path().string() : ".");
  }
  HfTokenizerFiles files;
  files.tokenizer_json = text;
  return shared(read_hf_vocabulary(files, path));
}

Result<VocabularyPointer> open_llama2c(const MappedFile& file) {
  const auto model = parse_llama2c(file.bytes(), file.path());
  if (model.ok()) return llama2c_vocabulary_beside(file.path(), model->vocab_size);
  auto vocabulary = read_llama2c_vocabulary(file.bytes(), file.path());
  if (vocabulary.ok()) return shared(std::move(vocabulary));
  return bad_input(
      "{}: no tokenizer that cria reads: neither a tokenizer.json, a tiktoken tokenizer.model, a "
      "GGUF file, a Hugging Face folder nor a llama2.c tokenizer",
      file.path());
}

Result<VocabularyPointer> open_gguf(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(const std::vector<GgufPart> parts, open_gguf_parts(path));
  return gguf_vocabulary(parts[0].contents);
}

Result<VocabularyPointer> open_file(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  if (GgufFile::recognizes(file.bytes())) return open_gguf(path);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') return open_json(path, text);
  if (is_tiktoken(text)) return shared(read_tiktoken_vocabulary(text, path));
  return open_llama2c(file);
}

}  // namespace

Result<std::shared_ptr<const Vocabulary>> open_vocabulary(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return not_found("{}: no such file or folder", path);
  CRIA_ASSIGN_OR_RETURN(VocabularyPointer vocabulary,
                        fs::is_directory(path, error) ? folder_vocabulary(path) : open_file(path));
  if (vocabulary == nullptr) return not_found("{}: brings no tokenizer", path);
  return vocabulary;
}

}  // namespace cria

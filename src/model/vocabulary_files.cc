#include "model/vocabulary_files.h"

#include <algorithm>
#include <filesystem>

#include "base/mapped_file.h"
#include "base/quote.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/hf_json.h"
#include "tokenizer/llama2c.h"
#include "tokenizer/tiktoken.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxTextBytes = std::size_t{256} << 20;  // Llama 3's tokenizer.json has 17 MB

VocabularyPointer shared(Vocabulary vocabulary) {
  return std::make_shared<const Vocabulary>(std::move(vocabulary));
}

// The strings of an array; empty when the key is absent.
Result<std::vector<std::string>> texts_of(const GgufFile& file, const char* key) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return std::vector<std::string>();
  const auto views = value->texts();
  if (!views) {
    return bad_input("{}: metadata {} is {}, expected an array of texts", file.what(), quote(key),
                     value->to_string());
  }
  return std::vector<std::string>(views->begin(), views->end());
}

// The numbers of an array as `T`; empty when the key is absent.
template <typename T>
Result<std::vector<T>> numbers_of(const GgufFile& file, const char* key) {
  const GgufValue* value = file.find(key);
  std::vector<T> numbers;
  if (value == nullptr) return numbers;
  const auto found = value->numbers();
  if (!found) {
    return bad_input("{}: metadata {} is {}, expected an array of numbers", file.what(), quote(key),
                     value->to_string());
  }
  for (const double number : *found) {
    // Token types: anything outside of 32 bits is refused by its meaning later, as 0 is.
    const bool fits = !std::is_integral_v<T> || (number >= 0 && number <= INT32_MAX);
    numbers.push_back(fits ? static_cast<T>(number) : T{});
  }
  return numbers;
}

Result<std::optional<std::int64_t>> id_of(const GgufFile& file, const char* key) {
  if (file.find(key) == nullptr) return std::optional<std::int64_t>();
  CRIA_ASSIGN_OR_RETURN(const std::int64_t id, file.integer(key, std::nullopt));
  return std::optional<std::int64_t>(id);
}

Status read_ids(const GgufFile& file, GgufTokenizer& tokenizer) {
  CRIA_ASSIGN_OR_RETURN(tokenizer.bos_id, id_of(file, "tokenizer.ggml.bos_token_id"));
  CRIA_ASSIGN_OR_RETURN(tokenizer.eos_id, id_of(file, "tokenizer.ggml.eos_token_id"));
  CRIA_ASSIGN_OR_RETURN(tokenizer.eot_id, id_of(file, "tokenizer.ggml.eot_token_id"));
  CRIA_ASSIGN_OR_RETURN(tokenizer.eom_id, id_of(file, "tokenizer.ggml.eom_token_id"));
  if (file.find("tokenizer.ggml.add_bos_token") != nullptr) {
    CRIA_ASSIGN_OR_RETURN(tokenizer.add_bos,
                          file.boolean("tokenizer.ggml.add_bos_token", std::nullopt));
  }
  return {};
}

bool is_llama2c_tokenizer_name(const std::string& name) {
  return name.starts_with("tok") && name.ends_with(".bin");
}

}  // namespace

Result<VocabularyPointer> gguf_vocabulary(const GgufFile& file) {
  CRIA_ASSIGN_OR_RETURN(const auto model, file.text("tokenizer.ggml.model", ""));
  if (model.empty() || model == "none" || model == "no_vocab") return VocabularyPointer();
  GgufTokenizer tokenizer;
  tokenizer.model = model;
  CRIA_ASSIGN_OR_RETURN(tokenizer.pre, file.text("tokenizer.ggml.pre", ""));
  CRIA_ASSIGN_OR_RETURN(const auto tokens, texts_of(file, "tokenizer.ggml.tokens"));
  CRIA_ASSIGN_OR_RETURN(const auto merges, texts_of(file, "tokenizer.ggml.merges"));
  CRIA_ASSIGN_OR_RETURN(const auto types,
                        numbers_of<std::int32_t>(file, "tokenizer.ggml.token_type"));
  CRIA_ASSIGN_OR_RETURN(const auto scores, numbers_of<float>(file, "tokenizer.ggml.scores"));
  tokenizer.tokens = tokens;
  tokenizer.merges = merges;
  tokenizer.token_types = types;
  tokenizer.scores = scores;
  CRIA_RETURN_IF_ERROR(read_ids(file, tokenizer));
  CRIA_ASSIGN_OR_RETURN(tokenizer.chat_template, file.text("tokenizer.chat_template", ""));
  CRIA_ASSIGN_OR_RETURN(Vocabulary vocabulary, read_gguf_vocabulary(tokenizer, file.what()));
  return shared(std::move(vocabulary));
}

Result<std::string> read_text_if_exists(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::string();
  CRIA_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  if (file.bytes().size() > kMaxTextBytes) {
    return bad_input("{}: {} bytes, expected at most {}", path, file.bytes().size(), kMaxTextBytes);
  }
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

Result<VocabularyPointer> folder_vocabulary(const std::string& folder) {
  const auto read = [&](const char* name) { return read_text_if_exists(fs::path(folder) / name); };
  CRIA_ASSIGN_OR_RETURN(const std::string tokenizer, read("tokenizer.json"));
  CRIA_ASSIGN_OR_RETURN(const std::string jinja, read("chat_template.jinja"));
  if (tokenizer.empty()) {
    CRIA_ASSIGN_OR_RETURN(const std::string ranks, read("tokenizer.model"));
    if (ranks.empty()) return VocabularyPointer();
    const std::string path = fs::path(folder) / "tokenizer.model";
    if (!is_tiktoken(ranks)) {
      return unsupported("{}: no tiktoken ranks; only those of Llama 3 are supported", path);
    }
    CRIA_ASSIGN_OR_RETURN(Vocabulary vocabulary, read_tiktoken_vocabulary(ranks, path));
    vocabulary.chat_template = jinja;
    return shared(std::move(vocabulary));
  }
  CRIA_ASSIGN_OR_RETURN(const std::string tokenizer_config, read("tokenizer_config.json"));
  CRIA_ASSIGN_OR_RETURN(const std::string generation_config, read("generation_config.json"));
  CRIA_ASSIGN_OR_RETURN(const std::string config, read("config.json"));
  HfTokenizerFiles files;
  files.tokenizer_json = tokenizer;
  files.tokenizer_config_json = tokenizer_config;
  files.generation_config_json = generation_config;
  files.config_json = config;
  files.chat_template_jinja = jinja;
  CRIA_ASSIGN_OR_RETURN(Vocabulary vocabulary, read_hf_vocabulary(files, folder));
  return shared(std::move(vocabulary));
}

Result<VocabularyPointer> llama2c_vocabulary_beside(const std::string& model_path,
                                                    std::int64_t n_vocab) {
  const fs::path parent = fs::path(model_path).parent_path();
  std::vector<std::string> candidates;
  VocabularyPointer found;
  std::error_code error;
  // An unreadable folder has no tokenizer; the model itself was opened by its path alone.
  for (fs::directory_iterator entry(parent.empty() ? "." : parent, error), end;
       !error && entry != end; entry.increment(error)) {
    if (!is_llama2c_tokenizer_name(entry->path().filename())) continue;
    const auto file = MappedFile::open(entry->path());
    if (!file.ok() || file->bytes().size() > kMaxTextBytes) continue;
    auto vocabulary =
        read_llama2c_vocabulary(file->bytes(), file->path(), static_cast<std::int32_t>(n_vocab));
    if (!vocabulary.ok()) continue;
    candidates.push_back(entry->path().filename());
    found = shared(std::move(vocabulary).value());
  }
  if (candidates.size() < 2) return found;
  std::ranges::sort(candidates);
  return bad_input("{}: several tokenizers of {} tokens are beside it ({}); name one (--tokenizer)",
                   model_path, n_vocab, fmt::join(candidates, ", "));
}

Status check_vocabulary_size(const VocabularyPointer& vocabulary, std::int64_t n_vocab,
                             const std::string& what) {
  if (vocabulary == nullptr) return {};
  const auto n_tokens = static_cast<std::int64_t>(vocabulary->tokens.size());
  if (n_tokens <= n_vocab) return {};
  return bad_input("{}: the tokenizer has {} tokens, the model knows {}", what, n_tokens, n_vocab);
}

}  // namespace cria

#include "cria/tokenizer.h"

#include <cstring>

#include "api/open_tokenizer.h"
#include "base/result.h"
#include "model/checkpoint.h"
#include "model/resolve.h"
#include "runtime/program.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace cria {
namespace {

bool is_program(const std::string& path) {
  Result<MappedFile> file = MappedFile::open(path);
  if (!file.ok() || file->bytes().size() < 8) return false;
  return std::memcmp(file->bytes().data() + 4, "ET", 2) == 0;
}

}  // namespace

Result<Tokenizer> checkpoint_tokenizer(const Checkpoint& checkpoint, const std::string& path) {
  if (checkpoint.vocabulary() == nullptr) {
    return not_found("{}: has no tokenizer; name one with --tokenizer", path);
  }
  Result<Tokenizer> tokenizer = Tokenizer::build(*checkpoint.vocabulary());
  if (!tokenizer.ok()) return std::move(tokenizer).status().with_context(path + ": tokenizer");
  return tokenizer;
}

Result<std::shared_ptr<const Tokenizer>> program_tokenizer(
    const std::shared_ptr<const Program>& program) {
  Result<std::span<const std::byte>> bytes = program->named_data(kTokenizerKey);
  if (!bytes.ok()) return not_found("{}: compiled without a tokenizer", program->path());
  CRIA_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::load(*bytes, program->path()));
  // The tables lie in the mapping, so the tokenizer keeps the program alive.
  struct Held {
    std::shared_ptr<const Program> program;
    Tokenizer tokenizer;
  };
  auto held = std::make_shared<Held>(Held{program, std::move(tokenizer)});
  return std::shared_ptr<const Tokenizer>(held, &held->tokenizer);
}

TextTokenizer::TextTokenizer(std::shared_ptr<const Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)) {}

Result<TextTokenizer> TextTokenizer::open(const std::string& path_or_id) {
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(path_or_id));
  if (is_program(path)) {
    CRIA_ASSIGN_OR_RETURN(std::shared_ptr<const Program> program, Program::load(path));
    CRIA_ASSIGN_OR_RETURN(std::shared_ptr<const Tokenizer> tokenizer, program_tokenizer(program));
    return TextTokenizer(std::move(tokenizer));
  }
  CRIA_ASSIGN_OR_RETURN(std::shared_ptr<const Vocabulary> vocabulary, open_vocabulary(path));
  Result<Tokenizer> built = Tokenizer::build(*vocabulary);
  if (!built.ok()) return std::move(built).status().with_context(path);
  return TextTokenizer(std::make_shared<const Tokenizer>(std::move(*built)));
}

Result<std::vector<std::int32_t>> TextTokenizer::encode(std::string_view text, bool add_begin,
                                                        bool parse_special) const {
  return tokenizer_->encode(
      text, {.add_bos = add_begin, .parse_special = parse_special, .force_bos = false});
}

std::string TextTokenizer::decode(std::span<const std::int32_t> ids, bool show_special) const {
  return tokenizer_->decode(ids, show_special);
}

std::int32_t TextTokenizer::n_vocab() const { return tokenizer_->n_vocab(); }
std::int32_t TextTokenizer::bos_id() const { return tokenizer_->bos_id(); }
const std::vector<std::int32_t>& TextTokenizer::eos_ids() const { return tokenizer_->eos_ids(); }

Result<std::string> TextTokenizer::render_chat(std::span<const ChatTurn> turns,
                                               const std::string& date,
                                               const std::string& tools_json) const {
  CRIA_RETURN_IF_ERROR(check_chat_support(*tokenizer_));
  ChatRequest request;
  for (const ChatTurn& turn : turns)
    request.messages.push_back({turn.role, turn.content, std::nullopt});
  if (!date.empty()) request.date_string = date;
  if (!tools_json.empty()) {
    auto tools = nlohmann::ordered_json::parse(tools_json, nullptr, /*allow_exceptions=*/false);
    if (!tools.is_array())
      return invalid_argument("tools: expected a JSON array of tool descriptions");
    request.tools = std::move(tools);
  }
  request.bos_token = std::string(tokenizer_->token_bytes(tokenizer_->bos_id()));
  return cria::render_chat(request);
}

}  // namespace cria

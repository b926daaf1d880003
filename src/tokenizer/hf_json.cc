#include "tokenizer/hf_json.h"

#include <algorithm>
#include <optional>
#include <span>

#include "base/json/json.h"
#include "tokenizer/gpt2_bytes.h"
#include "tokenizer/llama3_tokens.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer_blob.h"

namespace cria {

namespace {

using nlohmann::json;

// Ids may have holes (they become unused tokens), but a short file may not ask for a large table.
constexpr std::int64_t kMaxHoles = 65536;

// The member, or null where there is none.
const json& member(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

bool is_text(const json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

std::string type_of(const json& value) {
  const json& type = member(value, "type");
  return type.is_string() ? type.get<std::string>() : std::string("without a type");
}

bool is_true(const json& value) { return value.is_boolean() && value.get<bool>(); }

bool is_empty(const json& value) { return value.is_null() || is_text(value, ""); }

class HfReader {
 public:
  explicit HfReader(std::string_view what) : what_(what) {}

  Status read_tokenizer(const json& tokenizer);
  Status read_settings(const HfTokenizerFiles& files);
  Vocabulary take() && { return std::move(vocabulary_); }

 private:
  Status check_model(const json& model) const;
  Status check_normalizer(const json& normalizer) const;
  Status check_pre_tokenizer(const json& pre_tokenizer) const;
  Status read_vocab(const json& vocab);
  Status read_merges(const json& merges, const json& vocab);
  Result<Vocabulary::Merge> read_merge(const json& merge, const json& vocab) const;
  Status read_added_tokens(const json& added);
  Status read_added_token(const json& token);
  Status check_spellings() const;
  Result<Token*> token_slot(const json& id);
  Result<json> parse_optional(std::string_view text, const char* file) const;
  std::int32_t find_named(const json& token) const;
  Status add_eos_ids(const json& value, const char* file);
  Result<std::int32_t> read_id(const json& value, const char* file, const char* key) const;
  void read_chat_template(const HfTokenizerFiles& files, const json& tokenizer_config);

  std::string_view what_;
  std::size_t n_listed_ = 0;  // tokens that the file lists
  Vocabulary vocabulary_;
};

Status HfReader::check_model(const json& model) const {
  if (!model.is_object()) return bad_input("{}/tokenizer.json: no \"model\" object", what_);
  const json& type = member(model, "type");
  if (!type.is_null() && !is_text(type, "BPE")) {
    return unsupported("{}/tokenizer.json: the model is {}, only BPE is supported", what_,
                       type_of(model));
  }
  if (is_true(member(model, "byte_fallback"))) {
    return unsupported(
        "{}/tokenizer.json: BPE with byte_fallback, only byte-level BPE is supported", what_);
  }
  if (!is_empty(member(model, "continuing_subword_prefix")) ||
      !is_empty(member(model, "end_of_word_suffix"))) {
    return unsupported("{}/tokenizer.json: BPE with a subword prefix or suffix", what_);
  }
  return {};
}

Status HfReader::check_normalizer(const json& normalizer) const {
  const json& steps = member(normalizer, "normalizers");
  if (normalizer.is_null() || (steps.is_array() && steps.empty())) return {};
  return unsupported("{}/tokenizer.json: normalizer {}, Llama 3 has none", what_,
                     type_of(normalizer));
}

// A split by Llama 3's expression, then bytes without further splitting.
Status HfReader::check_pre_tokenizer(const json& pre_tokenizer) const {
  const json& steps = member(pre_tokenizer, "pretokenizers");
  const bool is_sequence = is_text(member(pre_tokenizer, "type"), "Sequence") && steps.is_array() &&
                           steps.size() == 2 && is_text(member(steps[0], "type"), "Split") &&
                           is_text(member(steps[1], "type"), "ByteLevel");
  if (!is_sequence) {
    return unsupported(
        "{}/tokenizer.json: pre-tokenizer {}, only Llama 3's Split and ByteLevel are supported",
        what_, pre_tokenizer.is_null() ? "null" : type_of(pre_tokenizer));
  }
  const json& regex = member(member(steps[0], "pattern"), "Regex");
  if (!is_text(regex, kLlama3Pattern)) {
    return unsupported(
        "{}/tokenizer.json: pre-tokenizer expression {}, only Llama 3's is supported", what_,
        regex.is_string() ? regex.get<std::string>() : "missing");
  }
  const json& use_regex = member(steps[1], "use_regex");
  if (!is_text(member(steps[0], "behavior"), "Isolated") || is_true(member(steps[0], "invert")) ||
      is_true(member(steps[1], "add_prefix_space")) || !use_regex.is_boolean() ||
      use_regex.get<bool>()) {
    return unsupported("{}/tokenizer.json: the options of the pre-tokenizer are not Llama 3's",
                       what_);
  }
  return {};
}

Result<Token*> HfReader::token_slot(const json& id) {
  const std::int64_t value = id.is_number_integer() ? id.get<std::int64_t>() : -1;
  const std::int64_t limit =
      std::min<std::int64_t>(kMaxTokens, static_cast<std::int64_t>(n_listed_) + kMaxHoles);
  if (value < 0 || value >= limit) {
    return bad_input("{}/tokenizer.json: token id {}, expected 0 to {}", what_,
                     id.is_number() ? fmt::format("{}", value) : std::string(id.type_name()),
                     limit - 1);
  }
  auto& tokens = vocabulary_.tokens;
  const auto index = static_cast<std::size_t>(value);
  if (index >= tokens.size()) tokens.resize(index + 1, {"", TokenKind::kUnused, 0});
  return &tokens[index];
}

Status HfReader::read_vocab(const json& vocab) {
  if (!vocab.is_object()) return bad_input("{}/tokenizer.json: no \"model.vocab\" object", what_);
  for (const auto& [spelling, id] : vocab.items()) {
    CRIA_ASSIGN_OR_RETURN(Token * token, token_slot(id));
    if (token->kind != TokenKind::kUnused) {
      return bad_input("{}/tokenizer.json: two tokens have the id {}", what_,
                       id.get<std::int64_t>());
    }
    auto bytes = gpt2_spelling_to_bytes(spelling);
    // Special tokens that are listed here too keep their text; read_added_token() replaces it.
    *token = {bytes.ok() ? std::move(bytes).value() : spelling,
              bytes.ok() ? TokenKind::kNormal : TokenKind::kUnused, 0};
  }
  return {};
}

Result<Vocabulary::Merge> HfReader::read_merge(const json& merge, const json& vocab) const {
  std::string left, right;
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    if (space == std::string::npos) {
      return bad_input("{}/tokenizer.json: the merge '{}' is not two tokens", what_, text);
    }
    left = text.substr(0, space);
    right = text.substr(space + 1);
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
             merge[1].is_string()) {
    left = merge[0].get<std::string>();
    right = merge[1].get<std::string>();
  } else {
    return bad_input("{}/tokenizer.json: a merge is neither \"a b\" nor [a, b]", what_);
  }
  const auto left_id = vocab.find(left), right_id = vocab.find(right);
  if (left_id == vocab.end() || right_id == vocab.end()) {
    return bad_input("{}/tokenizer.json: the merge '{}' '{}' names tokens that do not exist", what_,
                     left, right);
  }
  return Vocabulary::Merge{left_id->get<std::int32_t>(), right_id->get<std::int32_t>()};
}

Status HfReader::read_merges(const json& merges, const json& vocab) {
  if (!merges.is_array()) return bad_input("{}/tokenizer.json: no \"model.merges\" array", what_);
  vocabulary_.merges.reserve(merges.size());
  for (const json& merge : merges) {
    CRIA_ASSIGN_OR_RETURN(const Vocabulary::Merge ids, read_merge(merge, vocab));
    vocabulary_.merges.push_back(ids);
  }
  return {};
}

Status HfReader::read_added_token(const json& token) {
  const json& content = member(token, "content");
  if (!content.is_string()) {
    return bad_input("{}/tokenizer.json: an added token without content", what_);
  }
  const auto& text = content.get_ref<const std::string&>();
  for (const char* option : {"lstrip", "rstrip", "single_word"}) {
    if (is_true(member(token, option))) {
      return unsupported("{}/tokenizer.json: the added token '{}' has the option {}", what_, text,
                         option);
    }
  }
  CRIA_ASSIGN_OR_RETURN(Token * slot, token_slot(member(token, "id")));
  *slot = {text, is_true(member(token, "special")) ? TokenKind::kSpecial : TokenKind::kAdded, 0};
  return {};
}

Status HfReader::read_added_tokens(const json& added) {
  if (added.is_null()) return {};
  if (!added.is_array()) return bad_input("{}/tokenizer.json: added_tokens is no array", what_);
  for (const json& token : added) CRIA_RETURN_IF_ERROR(read_added_token(token));
  return {};
}

// Tokens whose spelling stands for no bytes must have been explained by added_tokens.
Status HfReader::check_spellings() const {
  for (std::size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
    const Token& token = vocabulary_.tokens[id];
    if (token.kind == TokenKind::kUnused && !token.bytes.empty()) {
      return bad_input(
          "{}/tokenizer.json: token {} ('{}') is not in the spelling of byte-level BPE", what_, id,
          token.bytes);
    }
  }
  return {};
}

Status HfReader::read_tokenizer(const json& tokenizer) {
  const json& model = member(tokenizer, "model");
  CRIA_RETURN_IF_ERROR(check_model(model));
  CRIA_RETURN_IF_ERROR(check_normalizer(member(tokenizer, "normalizer")));
  CRIA_RETURN_IF_ERROR(check_pre_tokenizer(member(tokenizer, "pre_tokenizer")));
  const json& vocab = member(model, "vocab");
  const json& added = member(tokenizer, "added_tokens");
  n_listed_ = vocab.size() + added.size();
  CRIA_RETURN_IF_ERROR(read_vocab(vocab));
  CRIA_RETURN_IF_ERROR(read_merges(member(model, "merges"), vocab));
  CRIA_RETURN_IF_ERROR(read_added_tokens(added));
  CRIA_RETURN_IF_ERROR(check_spellings());
  vocabulary_.ignore_merges = is_true(member(model, "ignore_merges"));
  return {};
}

Result<json> HfReader::parse_optional(std::string_view text, const char* file) const {
  if (text.empty()) return json();
  return parse_strict_json(text, fmt::format("{}/{}", what_, file));
}

// The id of a token given as "text" or as {"content": "text"}; kNoToken if there is none.
std::int32_t HfReader::find_named(const json& token) const {
  const json& text = token.is_object() ? member(token, "content") : token;
  if (!text.is_string()) return kNoToken;
  const auto& bytes = text.get_ref<const std::string&>();
  const auto& tokens = vocabulary_.tokens;
  const auto found = std::find_if(tokens.begin(), tokens.end(), [&](const Token& candidate) {
    return candidate.kind == TokenKind::kSpecial && candidate.bytes == bytes;
  });
  return found == tokens.end() ? kNoToken : static_cast<std::int32_t>(found - tokens.begin());
}

Result<std::int32_t> HfReader::read_id(const json& value, const char* file, const char* key) const {
  const std::int64_t id = value.is_number_integer() ? value.get<std::int64_t>() : -1;
  if (id < 0 || id >= static_cast<std::int64_t>(vocabulary_.tokens.size())) {
    return bad_input("{}/{}: {} is not the id of one of the {} tokens", what_, file, key,
                     vocabulary_.tokens.size());
  }
  return static_cast<std::int32_t>(id);
}

Status HfReader::add_eos_ids(const json& value, const char* file) {
  if (value.is_null()) return {};
  const std::span<const json> values =
      value.is_array() ? std::span<const json>(value.get_ref<const json::array_t&>())
                       : std::span<const json>(&value, 1);
  auto& eos_ids = vocabulary_.eos_ids;
  for (const json& element : values) {
    CRIA_ASSIGN_OR_RETURN(const std::int32_t id, read_id(element, file, "eos_token_id"));
    if (std::find(eos_ids.begin(), eos_ids.end(), id) == eos_ids.end()) eos_ids.push_back(id);
  }
  return {};
}

void HfReader::read_chat_template(const HfTokenizerFiles& files, const json& tokenizer_config) {
  const json& chat = member(tokenizer_config, "chat_template");
  if (!files.chat_template_jinja.empty()) {
    vocabulary_.chat_template = files.chat_template_jinja;
  } else if (chat.is_string()) {
    vocabulary_.chat_template = chat.get<std::string>();
  } else if (chat.is_array()) {  // several, by name
    for (const json& named : chat) {
      const json& text = member(named, "template");
      if (is_text(member(named, "name"), "default") && text.is_string()) {
        vocabulary_.chat_template = text.get<std::string>();
      }
    }
  }
}

Status HfReader::read_settings(const HfTokenizerFiles& files) {
  CRIA_ASSIGN_OR_RETURN(const json tokenizer_config,
                        parse_optional(files.tokenizer_config_json, "tokenizer_config.json"));
  CRIA_ASSIGN_OR_RETURN(const json generation_config,
                        parse_optional(files.generation_config_json, "generation_config.json"));
  CRIA_ASSIGN_OR_RETURN(const json config, parse_optional(files.config_json, "config.json"));
  const auto setting = [&](const char* key) {
    const json& value = member(generation_config, key);
    return value.is_null() ? std::pair(&member(config, key), "config.json")
                           : std::pair(&value, "generation_config.json");
  };
  vocabulary_.bos_id = find_named(member(tokenizer_config, "bos_token"));
  if (const auto [bos, file] = setting("bos_token_id");
      vocabulary_.bos_id == kNoToken && !bos->is_null()) {
    CRIA_ASSIGN_OR_RETURN(vocabulary_.bos_id, read_id(*bos, file, "bos_token_id"));
  }
  if (vocabulary_.bos_id == kNoToken) vocabulary_.bos_id = find_named("<|begin_of_text|>");
  const std::int32_t eos_id = find_named(member(tokenizer_config, "eos_token"));
  if (eos_id != kNoToken) vocabulary_.eos_ids.push_back(eos_id);
  const auto [eos, file] = setting("eos_token_id");
  CRIA_RETURN_IF_ERROR(add_eos_ids(*eos, file));
  add_llama3_end_tokens(vocabulary_);
  const json& add_bos = member(tokenizer_config, "add_bos_token");
  vocabulary_.add_bos = !add_bos.is_boolean() || add_bos.get<bool>();
  read_chat_template(files, tokenizer_config);
  return {};
}

}  // namespace

Result<Vocabulary> read_hf_vocabulary(const HfTokenizerFiles& files, std::string_view what) {
  CRIA_ASSIGN_OR_RETURN(
      const json tokenizer,
      parse_strict_json(files.tokenizer_json, fmt::format("{}/tokenizer.json", what)));
  HfReader reader(what);
  CRIA_RETURN_IF_ERROR(reader.read_tokenizer(tokenizer));
  CRIA_RETURN_IF_ERROR(reader.read_settings(files));
  return std::move(reader).take();
}

}  // namespace cria

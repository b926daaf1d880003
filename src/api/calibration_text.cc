#include "api/calibration_text.h"

#include <bit>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/quote.h"
#include "tokenizer/chat_template.h"

namespace cria {
namespace {

using Json = nlohmann::ordered_json;

std::string text_member(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// {"name", "arguments"}, or the same inside "function".
Result<ChatToolCall> tool_call_of(const Json& json) {
  const Json& call = json.is_object() && json.contains("function") ? json["function"] : json;
  if (!call.is_object() || text_member(call, "name").empty() || !call.contains("arguments")) {
    return bad_input("a tool call without name or arguments");
  }
  return ChatToolCall{text_member(call, "name"), call["arguments"]};
}

Result<ChatMessage> message_of(const Json& json) {
  if (!json.is_object() || text_member(json, "role").empty()) {
    return bad_input("a message without a role");
  }
  ChatMessage message;
  message.role = text_member(json, "role");
  if (json.contains("content")) message.content = json["content"];
  if (!json.contains("tool_calls")) return message;
  if (!json["tool_calls"].is_array()) return bad_input("tool_calls is no array");
  message.tool_calls.emplace();
  for (const Json& call : json["tool_calls"]) {
    CRIA_ASSIGN_OR_RETURN(ChatToolCall parsed, tool_call_of(call));
    message.tool_calls->push_back(std::move(parsed));
  }
  return message;
}

// A conversation as the model was trained on it: with its answer, if that is known.
Result<std::string> conversation_text(const Tokenizer& tokenizer, const Json& row) {
  CRIA_RETURN_IF_ERROR(check_chat_support(tokenizer));
  ChatRequest request;
  if (!row["messages"].is_array()) return bad_input("\"messages\" is no array");
  for (const Json& json : row["messages"]) {
    CRIA_ASSIGN_OR_RETURN(ChatMessage message, message_of(json));
    request.messages.push_back(std::move(message));
  }
  if (request.messages.empty()) return bad_input("\"messages\" is empty");
  if (const std::string answer = text_member(row, "expected"); !answer.empty()) {
    request.messages.push_back({"assistant", answer, std::nullopt});
  }
  request.add_generation_prompt = request.messages.back().role != "assistant";
  if (const std::string date = text_member(row, "date"); !date.empty()) request.date_string = date;
  if (row.contains("tools")) {
    if (!row["tools"].is_array()) return bad_input("\"tools\" is no array");
    request.tools = row["tools"];
  }
  request.bos_token = std::string(tokenizer.token_bytes(tokenizer.bos_id()));
  return render_chat(request);
}

Result<std::string> row_text(const Tokenizer& tokenizer, std::string_view line) {
  const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object()) return bad_input("{} is no JSON object", quote(line));
  if (row.contains("messages")) return conversation_text(tokenizer, row);
  if (row.contains("text") && row["text"].is_string()) return row["text"].get<std::string>();
  return bad_input("neither \"messages\" nor \"text\"");
}

Status append_ids(const Tokenizer& tokenizer, std::string_view text,
                  std::vector<std::int32_t>& ids) {
  CRIA_ASSIGN_OR_RETURN(
      const std::vector<std::int32_t> more,
      tokenizer.encode(text, {.add_bos = true, .parse_special = true, .force_bos = false}));
  ids.insert(ids.end(), more.begin(), more.end());
  return {};
}

}  // namespace

Result<std::vector<std::int32_t>> calibration_ids(const Tokenizer& tokenizer,
                                                  const CalibrationText& text) {
  std::vector<std::int32_t> ids;
  std::string_view rest = text.content;
  if (!text.json_lines) {
    Status status = append_ids(tokenizer, rest, ids);
    if (!status.ok()) return std::move(status).with_context(text.name);
    return ids;
  }
  for (int number = 1; !rest.empty(); ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    Result<std::string> rendered = row_text(tokenizer, line);
    Status status = rendered.ok() ? append_ids(tokenizer, *rendered, ids) : rendered.status();
    if (!status.ok()) {
      return std::move(status).with_context(fmt::format("{}: line {}", text.name, number));
    }
  }
  return ids;
}

std::uint64_t ids_hash(std::span<const std::int32_t> ids) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::int32_t id : ids) {
    hash = std::rotl(hash ^ static_cast<std::uint32_t>(id), 29) * 0x9e3779b97f4a7c15;
  }
  return hash;
}

}  // namespace cria

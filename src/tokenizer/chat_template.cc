#include "tokenizer/chat_template.h"

#include <algorithm>
#include <array>
#include <span>

#include "tokenizer/python_json.h"
#include "tokenizer/utf8.h"

namespace cria {

namespace {

constexpr std::array<std::string_view, 5> kRoles = {"system", "user", "assistant", "tool",
                                                    "ipython"};

// What Python's str.strip() removes.
bool is_python_space(std::uint32_t code) {
  return (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20) || code == 0x85 ||
         code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
         code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty()) {
    const int length = utf8_character_length(text);
    if (length <= 0) break;
    const auto size = static_cast<std::size_t>(length);
    if (!is_python_space(utf8_code_point(text.substr(0, size)))) break;
    text.remove_prefix(size);
  }
  while (!text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && text.size() - begin < 4 &&
           (static_cast<std::uint8_t>(text[begin]) & 0xc0) == 0x80) {
      --begin;
    }
    const std::string_view last = text.substr(begin);
    if (utf8_character_length(last) != static_cast<int>(last.size())) break;
    if (!is_python_space(utf8_code_point(last))) break;
    text.remove_suffix(last.size());
  }
  return text;
}

bool is_tool_result(const ChatMessage& message) {
  return message.role == "ipython" || message.role == "tool";
}

std::string header(std::string_view role) {
  return fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n", role);
}

Status check_message(const ChatMessage& message, std::size_t index) {
  if (std::find(kRoles.begin(), kRoles.end(), message.role) == kRoles.end()) {
    return invalid_argument(
        "chat: message {} has the role '{}', expected system, user, assistant, tool or ipython",
        index, message.role);
  }
  const bool needs_text = !is_tool_result(message) && !message.tool_calls.has_value();
  if (needs_text && !message.content.is_string()) {
    return invalid_argument("chat: the content of message {} ({}) is {}, expected text", index,
                            message.role, message.content.type_name());
  }
  return {};
}

// The descriptions of the tools, each followed by an empty line, after how to call them.
Status append_tools(std::string& out, const nlohmann::ordered_json& tools,
                    std::string_view introduction) {
  out += introduction;
  out +=
      "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument "
      "name and its value}.Do not use variables.\n\n";
  for (const auto& tool : tools) {
    CRIA_ASSIGN_OR_RETURN(const std::string description, python_json(tool, 4));
    out += description;
    out += "\n\n";
  }
  return {};
}

Status append_system(std::string& out, const ChatRequest& request, std::string_view system) {
  out += header("system");
  if (request.tools.has_value()) out += "Environment: ipython\n";
  out += "Cutting Knowledge Date: December 2023\nToday Date: ";
  out += request.date_string;
  out += "\n\n";
  if (request.tools.has_value() && !request.tools_in_user_message) {
    CRIA_RETURN_IF_ERROR(append_tools(
        out, *request.tools,
        "You have access to the following functions. To call a function, please respond with JSON "
        "for a function call."));
  }
  out += trimmed(system);
  out += "<|eot_id|>";
  return {};
}

Status append_call(std::string& out, const std::vector<ChatToolCall>& calls) {
  if (calls.size() != 1) {
    return invalid_argument(
        "chat: {} tool calls in a message: this model only supports single tool-calls at once",
        calls.size());
  }
  CRIA_ASSIGN_OR_RETURN(const std::string arguments, python_json(calls[0].arguments));
  out += header("assistant");
  out +=
      fmt::format("{{\"name\": \"{}\", \"parameters\": {}}}<|eot_id|>", calls[0].name, arguments);
  return {};
}

// Text, arrays and objects are written as JSON, text thus in quotes; the rest as Python prints it.
Status append_result(std::string& out, const nlohmann::ordered_json& content) {
  CRIA_ASSIGN_OR_RETURN(std::string result, python_json(content));
  if (content.is_boolean()) result = content.get<bool>() ? "True" : "False";
  if (content.is_null()) result = "None";
  out += header("ipython");
  out += result;
  out += "<|eot_id|>";
  return {};
}

Status append_message(std::string& out, const ChatMessage& message) {
  if (message.tool_calls.has_value()) return append_call(out, *message.tool_calls);
  if (is_tool_result(message)) return append_result(out, message.content);
  out += header(message.role);
  out += trimmed(message.content.get_ref<const std::string&>());
  out += "<|eot_id|>";
  return {};
}

// The first message, whoever wrote it, goes below the tools.
Status append_first_user_message(std::string& out, const ChatRequest& request,
                                 const ChatMessage& message) {
  if (!message.content.is_string()) {
    return invalid_argument("chat: the first message after the tools is {}, expected text",
                            message.content.type_name());
  }
  out += header("user");
  CRIA_RETURN_IF_ERROR(append_tools(
      out, *request.tools,
      "Given the following functions, please respond with a JSON for a function call with its "
      "proper arguments that best answers the given prompt.\n\n"));
  out += trimmed(message.content.get_ref<const std::string&>());
  out += "<|eot_id|>";
  return {};
}

Status check_request(const ChatRequest& request) {
  if (request.messages.empty()) return invalid_argument("chat: no messages");
  for (std::size_t i = 0; i < request.messages.size(); ++i) {
    CRIA_RETURN_IF_ERROR(check_message(request.messages[i], i));
  }
  if (request.messages[0].role == "system" && !request.messages[0].content.is_string()) {
    return invalid_argument("chat: the content of the system message is no text");
  }
  if (request.tools.has_value() && !request.tools->is_array()) {
    return invalid_argument("chat: the tools are {}, expected an array",
                            request.tools->type_name());
  }
  return {};
}

}  // namespace

Result<std::string> render_chat(const ChatRequest& request) {
  CRIA_RETURN_IF_ERROR(check_request(request));
  std::span<const ChatMessage> messages = request.messages;
  std::string_view system;
  if (messages[0].role == "system") {
    system = messages[0].content.get_ref<const std::string&>();
    messages = messages.subspan(1);
  }
  std::string out = request.bos_token;
  CRIA_RETURN_IF_ERROR(append_system(out, request, system));
  if (request.tools.has_value() && request.tools_in_user_message) {
    if (messages.empty()) {
      return invalid_argument(
          "chat: cannot put tools in the first user message when there is no first user message");
    }
    CRIA_RETURN_IF_ERROR(append_first_user_message(out, request, messages[0]));
    messages = messages.subspan(1);
  }
  for (const ChatMessage& message : messages) CRIA_RETURN_IF_ERROR(append_message(out, message));
  if (request.add_generation_prompt) out += header("assistant");
  return out;
}

Status check_chat_support(const Tokenizer& tokenizer) {
  for (const std::string_view name : {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}) {
    const auto id = tokenizer.token_id(name);
    if (id.has_value() && tokenizer.token_kind(*id) == TokenKind::kSpecial) continue;
    return unsupported(
        "chat: the vocabulary has no special token {}{}; give plain text to this model", name,
        tokenizer.chat_template().empty() ? ""
                                          : ", so its own chat template is not that of Llama 3");
  }
  return {};
}

}  // namespace cria

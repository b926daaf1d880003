// The chat format of Llama 3.1 and 3.2 Instruct: a native rendering of their Jinja template.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "tokenizer/tokenizer.h"

namespace cria {

struct ChatToolCall {
  std::string name;
  nlohmann::ordered_json arguments;  // an object; a string is rendered as a JSON string
};

struct ChatMessage {
  std::string role;  // system, user, assistant, tool or ipython
  // Text; the results of tools (tool, ipython) may be any JSON.
  nlohmann::ordered_json content = "";
  // Present, even if empty, when the message is a call: then there must be exactly one.
  std::optional<std::vector<ChatToolCall>> tool_calls;
};

struct ChatRequest {
  std::vector<ChatMessage> messages;  // at least one; a system message comes first
  // A JSON array of the descriptions of functions. An empty array is not the same as none.
  std::optional<nlohmann::ordered_json> tools;
  bool tools_in_user_message = true;        // else they are described in the system message
  bool add_generation_prompt = true;        // ends with the header of the assistant's answer
  std::string date_string = "26 Jul 2024";  // the template's own default; "%d %b %Y"
  std::string bos_token = "<|begin_of_text|>";
};

// The text of the whole conversation, to be encoded with parse_special (it starts with the begin
// token, which encode() does not double). kInvalidArgument where the template raises an error.
Result<std::string> render_chat(const ChatRequest& request);

// kUnsupported, naming what is missing, when the vocabulary lacks the tokens that the format is
// made of.
Status check_chat_support(const Tokenizer& tokenizer);

}  // namespace cria

#include "tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/python_json.h"
#include "tokenizer/tokenizer_testing.h"

namespace cria {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;

ChatMessage message_of(const ordered_json& json) {
  ChatMessage message;
  message.role = json.at("role");
  message.content = json.value("content", ordered_json());
  if (!json.contains("tool_calls")) return message;
  message.tool_calls.emplace();
  for (const auto& call : json.at("tool_calls")) {
    const auto& function = call.at("function");
    message.tool_calls->push_back({function.at("name"), function.at("arguments")});
  }
  return message;
}

ChatRequest request_of(const ordered_json& json) {
  ChatRequest request;
  for (const auto& message : json.at("messages")) request.messages.push_back(message_of(message));
  if (json.contains("tools")) request.tools = json.at("tools");
  request.tools_in_user_message = json.value("tools_in_user_message", true);
  request.add_generation_prompt = json.value("add_generation_prompt", true);
  if (json.contains("date_string")) request.date_string = json.at("date_string");
  return request;
}

// The cases were rendered by Jinja from the model's own template (testdata/make_chat_cases.py).
TEST(ChatTemplate, EqualsTheTemplateOfTheModel) {
  const auto text = read_text_file(CRIA_SOURCE_DIR "/src/tokenizer/testdata/chat_cases.json");
  ASSERT_TRUE(text.has_value());
  const ordered_json cases = ordered_json::parse(*text);
  ASSERT_GT(cases.size(), 40u);
  for (const auto& test_case : cases) {
    const std::string name = test_case.at("name");
    const auto rendered = render_chat(request_of(test_case.at("request")));
    if (test_case.contains("error")) {
      ASSERT_FALSE(rendered.ok()) << name;
      EXPECT_EQ(rendered.status().code(), ErrorCode::kInvalidArgument) << name;
    } else {
      ASSERT_TRUE(rendered.ok()) << name << ": " << rendered.status().message();
      EXPECT_EQ(*rendered, test_case.at("expected").get<std::string>()) << name;
    }
  }
}

// Where Jinja would print something that no model has seen, cria refuses.
TEST(ChatTemplate, RefusesWhatIsNoConversation) {
  const auto error_of = [](const ChatRequest& request) {
    const auto rendered = render_chat(request);
    return rendered.ok() ? std::string("accepted") : rendered.status().message();
  };
  EXPECT_THAT(error_of({}), HasSubstr("no messages"));
  EXPECT_THAT(error_of({.messages = {{.role = "robot", .content = "x"}}}), HasSubstr("'robot'"));
  EXPECT_THAT(error_of({.messages = {{.role = "user", .content = 5}}}), HasSubstr("expected text"));
  EXPECT_THAT(
      error_of({.messages = {{.role = "user", .content = "x"}}, .tools = ordered_json::object()}),
      HasSubstr("expected an array"));
  ordered_json deep = "x";
  for (int i = 0; i < 1000; ++i) deep = ordered_json::array({std::move(deep)});
  EXPECT_THAT(error_of({.messages = {{.role = "user", .content = "x"}},
                        .tools = ordered_json::array({deep})}),
              HasSubstr("nested"));
}

TEST(ChatTemplate, RenderedTextBecomesSpecialTokens) {
  const auto tokenizer = Tokenizer::build(tiny_vocabulary());
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_TRUE(check_chat_support(*tokenizer).ok());
  const auto text = render_chat({.messages = {{.role = "user", .content = "the"}}});
  ASSERT_TRUE(text.ok());
  const auto ids = tokenizer->encode(*text);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(std::count(ids->begin(), ids->end(), tokenizer->bos_id()), 1);
  EXPECT_EQ(std::count(ids->begin(), ids->end(), *tokenizer->token_id("<|eot_id|>")), 2);
  EXPECT_EQ(std::count(ids->begin(), ids->end(), *tokenizer->token_id("<|start_header_id|>")), 3);
}

TEST(ChatTemplate, IsRefusedWithoutItsTokens) {
  for (const char* name : {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}) {
    Vocabulary vocabulary = tiny_vocabulary();
    for (Token& token : vocabulary.tokens) {
      if (token.bytes == name) token.kind = TokenKind::kUnused;
    }
    const auto tokenizer = Tokenizer::build(vocabulary);
    ASSERT_TRUE(tokenizer.ok());
    const Status status = check_chat_support(*tokenizer);
    EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(status.message(), HasSubstr(name));
  }
}

TEST(PythonJson, WritesNumbersAsPythonDoes) {
  const auto text = [](const ordered_json& value) { return *python_json(value); };
  EXPECT_EQ(text(1.0), "1.0");
  EXPECT_EQ(text(-0.0), "-0.0");
  EXPECT_EQ(text(0.1), "0.1");
  EXPECT_EQ(text(1e15), "1000000000000000.0");
  EXPECT_EQ(text(1e16), "1e+16");
  EXPECT_EQ(text(1e-4), "0.0001");
  EXPECT_EQ(text(1e-5), "1e-05");
  EXPECT_EQ(text(5e-324), "5e-324");
  EXPECT_EQ(text(1.7976931348623157e308), "1.7976931348623157e+308");
  EXPECT_EQ(text(std::nan("")), "NaN");
  EXPECT_EQ(text(-HUGE_VAL), "-Infinity");
}

}  // namespace
}  // namespace cria

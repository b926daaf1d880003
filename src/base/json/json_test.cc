#include "base/json/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace cria {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string_view text) {
  auto parsed = parse_strict_json(text, "config.json");
  return parsed.ok() ? "no error" : parsed.status().message();
}

TEST(ParseStrictJson, GivesTheValue) {
  auto parsed = parse_strict_json(R"({"a": [1, -2, 2.5, true, null, "x"], "b": {"a": {}}})", "t");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->dump(), R"({"a":[1,-2,2.5,true,null,"x"],"b":{"a":{}}})");
}

TEST(ParseStrictJson, AgreesWithTheLibraryOnScalars) {
  for (const char* text : {"1", "\"x\"", "null", "[]", "{}", " [ [ ] , { } ] "}) {
    auto parsed = parse_strict_json(text, "t");
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, nlohmann::json::parse(text)) << text;
  }
}

TEST(ParseStrictJson, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "[1,]", "{\"a\":}", "{} x", "nul", "\"\xff\"", "1e999"}) {
    EXPECT_THAT(error_of(text), HasSubstr("config.json: not valid JSON at byte")) << text;
  }
}

TEST(ParseStrictJson, RefusesAKeyTwice) {
  EXPECT_THAT(error_of(R"({"a": {"b": 1, "b": 2}})"), HasSubstr("key \"b\" appears twice"));
  EXPECT_TRUE(parse_strict_json(R"([{"a": 1}, {"a": {"a": 2}}])", "t").ok());
}

TEST(ParseStrictJson, RefusesDeepNesting) {
  const std::string deepest(kMaxJsonNesting, '[');
  EXPECT_TRUE(parse_strict_json(deepest + std::string(kMaxJsonNesting, ']'), "t").ok());
  EXPECT_THAT(error_of("[" + deepest), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(error_of(std::string(1000000, '[')), HasSubstr("nested deeper than 64"));
}

TEST(JsonMembers, FallBackWhenAbsentOrNull) {
  const auto object = nlohmann::json::parse(R"({"n": null})");
  EXPECT_EQ(*json_integer(object, "n", 7, "t"), 7);
  EXPECT_EQ(*json_number(object, "m", 0.5, "t"), 0.5);
  EXPECT_EQ(*json_bool(object, "m", true, "t"), true);
  EXPECT_EQ(*json_text(object, "m", "x", "t"), "x");
  EXPECT_EQ(json_member(object, "n"), nullptr);
}

TEST(JsonMembers, RefuseOtherTypes) {
  const auto object =
      nlohmann::json::parse(R"({"text": "1", "big": 18446744073709551615, "real": 1.5, "int": 3})");
  EXPECT_THAT(json_integer(object, "text", 0, "config.json").status().message(),
              HasSubstr("config.json: \"text\" is a string, expected an integer"));
  EXPECT_FALSE(json_integer(object, "big", 0, "t").ok());
  EXPECT_FALSE(json_integer(object, "real", 0, "t").ok());
  EXPECT_FALSE(json_number(object, "text", 0, "t").ok());
  EXPECT_FALSE(json_bool(object, "int", false, "t").ok());
  EXPECT_FALSE(json_text(object, "int", "", "t").ok());
  EXPECT_EQ(*json_number(object, "int", 0, "t"), 3.0);
  EXPECT_EQ(*json_integer(object, "int", 0, "t"), 3);
}

}  // namespace
}  // namespace cria

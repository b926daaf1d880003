#include "format/gguf/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "format/gguf/gguf_builder.h"
#include "format/gguf/gguf_types.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint32_t kF32Number = 0;
constexpr std::uint32_t kQ4_0Number = 2;

std::span<const std::byte> as_bytes(const std::string& file) {
  return std::as_bytes(std::span(file));
}

template <typename T>
std::string little_endian(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

std::string error_of(const std::string& file) {
  auto parsed = GgufFile::parse(as_bytes(file), "m.gguf");
  return parsed.ok() ? "no error" : parsed.status().message();
}

ErrorCode code_of(const std::string& file) {
  return GgufFile::parse(as_bytes(file), "m.gguf").status().code();
}

GgufBuilder one_tensor() {
  GgufBuilder builder;
  builder.tensor("w", kF32Number, {4, 2}, std::string(32, 'x'));
  return builder;
}

TEST(Gguf, GivesMetadataOfEveryType) {
  GgufBuilder builder;
  builder.raw("u8", 0, "\xfe").raw("i8", 1, "\xfe");
  builder.raw("u16", 2, little_endian<std::uint16_t>(65534));
  builder.raw("i16", 3, little_endian<std::int16_t>(-2));
  builder.u32("u32", 4294967294U).i32("i32", -2).u64("u64", 1ULL << 40);
  builder.raw("i64", 11, little_endian<std::int64_t>(-(1LL << 40)));
  builder.f32("f32", 0.5F).raw("f64", 12, little_endian(0.25));
  builder.boolean("bool", true).text("text", "ab\xff");
  builder.texts("texts", {"x", "", "yz"}).i32s("i32s", {1, -1}).f32s("f32s", {1.5F});
  const std::string file = builder.build();
  auto parsed = GgufFile::parse(as_bytes(file), "m.gguf");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  const auto integer = [&](const char* key) { return *parsed->integer(key, std::nullopt); };
  EXPECT_EQ(integer("u8"), 254);
  EXPECT_EQ(integer("i8"), -2);
  EXPECT_EQ(integer("u16"), 65534);
  EXPECT_EQ(integer("i16"), -2);
  EXPECT_EQ(integer("u32"), 4294967294);
  EXPECT_EQ(integer("i32"), -2);
  EXPECT_EQ(integer("u64"), 1LL << 40);
  EXPECT_EQ(integer("i64"), -(1LL << 40));
  EXPECT_EQ(*parsed->number("f32", std::nullopt), 0.5);
  EXPECT_EQ(*parsed->number("f64", std::nullopt), 0.25);
  EXPECT_EQ(*parsed->number("i32", std::nullopt), -2.0);
  EXPECT_EQ(*parsed->boolean("bool", std::nullopt), true);
  EXPECT_EQ(*parsed->text("text", std::nullopt), "ab\xff");
  EXPECT_THAT(*parsed->find("texts")->texts(), ElementsAre("x", "", "yz"));
  EXPECT_THAT(*parsed->find("i32s")->integers(), ElementsAre(1, -1));
  EXPECT_THAT(*parsed->find("f32s")->numbers(), ElementsAre(1.5));
}

TEST(Gguf, TypedAccessFallsBackOrExplains) {
  const std::string file = GgufBuilder().text("t", "x").u64("big", UINT64_MAX).build();
  auto parsed = GgufFile::parse(as_bytes(file), "m.gguf");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed->integer("absent", 5), 5);
  EXPECT_THAT(parsed->integer("absent", std::nullopt).status().message(),
              AllOf(HasSubstr("m.gguf"), HasSubstr("\"absent\" is missing")));
  EXPECT_THAT(parsed->integer("t", 5).status().message(),
              HasSubstr("\"t\" is \"x\" (text), expected an integer"));
  EXPECT_FALSE(parsed->integer("big", 5).ok());
  EXPECT_FALSE(parsed->number("t", 5).ok());
  EXPECT_FALSE(parsed->boolean("t", true).ok());
  EXPECT_FALSE(parsed->text("big", "").ok());
  EXPECT_EQ(parsed->find("t")->texts(), std::nullopt);
  EXPECT_EQ(parsed->find("t")->integers(), std::nullopt);
}

TEST(Gguf, PrintsValuesOnOneShortLine) {
  std::vector<std::string> many(1000, "a\nb");
  const std::string file = GgufBuilder()
                               .text("text", std::string(1000, '\n'))
                               .texts("many", many)
                               .i32s("few", {1, 2})
                               .boolean("b", false)
                               .build();
  auto parsed = GgufFile::parse(as_bytes(file), "m.gguf");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->find("few")->to_string(), "i32[2] 1, 2");
  EXPECT_EQ(parsed->find("b")->to_string(), "false");
  EXPECT_THAT(parsed->find("many")->to_string(), HasSubstr("text[1000] \"a\\nb\", "));
  for (const auto& entry : parsed->metadata()) {
    EXPECT_LT(entry.value.to_string(80).size(), 300U);
    EXPECT_EQ(entry.value.to_string(80).find('\n'), std::string::npos);
  }
}

TEST(Gguf, PlacesTensorsInTheFile) {
  for (const std::uint32_t version : {2U, 3U}) {
    for (const std::uint64_t alignment : {8ULL, 32ULL, 4096ULL}) {
      GgufBuilder builder;
      builder.version = version;
      builder.alignment = alignment;
      builder.u32("general.alignment", static_cast<std::uint32_t>(alignment));
      builder.tensor("a", kF32Number, {3}, std::string(12, 'a'));
      builder.tensor("b", kQ4_0Number, {64, 2, 1, 3}, std::string(216, 'b'));
      const std::string file = builder.build();
      auto parsed = GgufFile::parse(as_bytes(file), "m.gguf");
      ASSERT_TRUE(parsed.ok()) << parsed.status().message();
      EXPECT_EQ(parsed->version(), version);
      EXPECT_EQ(parsed->alignment(), alignment);
      const GgufTensor* b = parsed->find_tensor("b");
      ASSERT_NE(b, nullptr);
      EXPECT_EQ(b->type, StorageType::kQ4_0);
      EXPECT_THAT(b->dims, ElementsAre(64, 2, 1, 3));
      ASSERT_EQ(b->bytes.size(), 216U);
      EXPECT_EQ(b->bytes.data(), as_bytes(file).data() + b->offset);
      EXPECT_EQ(b->bytes.front(), std::byte{'b'});
      EXPECT_EQ(b->bytes.back(), std::byte{'b'});
      EXPECT_EQ(parsed->find_tensor("a")->bytes.back(), std::byte{'a'});
      EXPECT_EQ(parsed->find_tensor("c"), nullptr);
    }
  }
}

TEST(Gguf, RefusesOtherFilesAndVersions) {
  EXPECT_EQ(error_of("GGML00000000"), "m.gguf: not a GGUF file");
  GgufBuilder builder;
  builder.version = 1;
  EXPECT_THAT(error_of(builder.build()), HasSubstr("GGUF version 1; versions 2 and 3 are read"));
  EXPECT_EQ(code_of(builder.build()), ErrorCode::kUnsupported);
  builder.version = 0x03000000;
  EXPECT_THAT(error_of(builder.build()), HasSubstr("big-endian"));
}

TEST(Gguf, EveryTruncationIsAnError) {
  GgufBuilder builder = one_tensor();
  builder.text("t", "text").texts("many", {"a", "b"}).i32s("n", {1, 2}).boolean("b", true);
  const std::string file = builder.build();
  ASSERT_EQ(error_of(file), "no error");
  for (std::size_t size = 0; size < file.size(); ++size) {
    EXPECT_THAT(error_of(file.substr(0, size)), HasSubstr("m.gguf")) << size;
  }
}

TEST(Gguf, RefusesAbsurdCounts) {
  GgufBuilder tensors = one_tensor();
  tensors.extra_tensors = 1LL << 60;
  EXPECT_THAT(error_of(tensors.build()), HasSubstr("the file has room for"));
  GgufBuilder entries = one_tensor();
  entries.extra_metadata = 1LL << 60;
  EXPECT_THAT(error_of(entries.build()), HasSubstr("metadata entries"));
  const auto array = [](std::uint32_t type, std::uint64_t count) {
    return GgufBuilder().raw("k", 9, little_endian(type) + little_endian(count)).build();
  };
  EXPECT_THAT(error_of(array(8, 1ULL << 61)), HasSubstr("texts"));
  EXPECT_THAT(error_of(array(10, 1ULL << 61)), HasSubstr("elements"));
  const std::string long_text = GgufBuilder().raw("k", 8, little_endian(UINT64_MAX)).build();
  EXPECT_THAT(error_of(long_text), HasSubstr("a text at byte"));
}

TEST(Gguf, RefusesBadMetadata) {
  EXPECT_THAT(error_of(GgufBuilder().u32("a", 1).u32("a", 2).build()),
              HasSubstr("metadata \"a\" appears twice"));
  EXPECT_THAT(error_of(GgufBuilder().raw("a", 13, "xxxx").build()),
              HasSubstr("\"a\" has value type 13"));
  const std::string nested = little_endian(9U) + little_endian<std::uint64_t>(0);
  EXPECT_THAT(error_of(GgufBuilder().raw("a", 9, nested).build()), HasSubstr("array of arrays"));
  EXPECT_THAT(error_of(GgufBuilder().u32(std::string(65536, 'k'), 1).build()),
              HasSubstr("65536 bytes long"));
}

TEST(Gguf, RefusesBadAlignment) {
  for (const std::uint32_t alignment : {0U, 24U, 1U << 20}) {
    EXPECT_THAT(error_of(GgufBuilder().u32("general.alignment", alignment).build()),
                HasSubstr("expected a power of two"))
        << alignment;
  }
  EXPECT_THAT(error_of(GgufBuilder().text("general.alignment", "32").build()),
              HasSubstr("expected an integer"));
}

TEST(Gguf, RefusesUnsupportedTensorTypesByName) {
  GgufBuilder builder;
  builder.tensor("blk.0.ffn_up.weight", 16, {256}, std::string(66, 'x'));
  EXPECT_THAT(error_of(builder.build()),
              AllOf(HasSubstr("\"blk.0.ffn_up.weight\" has type IQ2_XXS (16)"),
                    HasSubstr("F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, "
                              "Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4")));
  EXPECT_EQ(code_of(builder.build()), ErrorCode::kUnsupported);
  EXPECT_THAT(error_of(GgufBuilder().tensor("w", 4, {32}, "").build()),
              HasSubstr("Q4_2 (removed) (4)"));
  EXPECT_THAT(error_of(GgufBuilder().tensor("w", 1000, {32}, "").build()),
              HasSubstr("unknown (1000)"));
}

TEST(Gguf, RefusesBadShapes) {
  const auto shaped = [](const std::vector<std::uint64_t>& dims, std::uint32_t type = 0) {
    return error_of(GgufBuilder().tensor("w", type, dims, std::string(64, 'x')).build());
  };
  EXPECT_THAT(shaped({}), HasSubstr("\"w\" has 0 dimensions"));
  EXPECT_THAT(shaped({1, 1, 1, 1, 1}), HasSubstr("5 dimensions"));
  EXPECT_THAT(shaped({4, 0}), HasSubstr("dimension 1 of tensor \"w\" is 0"));
  EXPECT_THAT(shaped({1ULL << 32, 1ULL << 32}), HasSubstr("too many elements"));
  EXPECT_THAT(shaped({UINT64_MAX}), HasSubstr("too many elements"));
  EXPECT_THAT(shaped({48}, kQ4_0Number), HasSubstr("rows of 48 elements, Q4_0 needs a multiple"));
  EXPECT_THAT(shaped({1ULL << 62}), HasSubstr("ends after the file's"));
  EXPECT_THAT(shaped({17}), HasSubstr("ends after the file's"));
  EXPECT_EQ(shaped({16}), "no error");
}

TEST(Gguf, RefusesBadOffsets) {
  GgufBuilder builder = one_tensor();
  builder.extra_offset = 4;
  EXPECT_THAT(error_of(builder.build()), HasSubstr("at offset 4, expected a multiple of 32"));
  builder.extra_offset = 32;
  EXPECT_THAT(error_of(builder.build()), HasSubstr("ends after the file's"));
  builder.extra_offset = -32;  // wraps to nearly 2^64
  EXPECT_THAT(error_of(builder.build()), HasSubstr("ends after the file's"));
  builder.extra_offset = 0;
  EXPECT_EQ(error_of(builder.build()), "no error");
}

TEST(Gguf, RefusesATensorTwice) {
  GgufBuilder builder = one_tensor();
  builder.tensor("w", kF32Number, {1}, std::string(4, 'x'));
  EXPECT_THAT(error_of(builder.build()), HasSubstr("tensor \"w\" appears twice"));
}

TEST(Gguf, ErrorsStayOnOneLine) {
  GgufBuilder builder;
  builder.tensor("bad\nname\x1b[2J" + std::string(500, 'n'), 4, {32}, "");
  const std::string message = error_of(builder.build());
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_LT(message.size(), 400U);
}

TEST(GgufTypes, NumbersAndTypesCorrespond) {
  int n_supported = 0;
  for (std::uint32_t number = 0; number < 100; ++number) {
    const auto type = storage_type_from_gguf(number);
    if (!type) continue;
    ++n_supported;
    EXPECT_EQ(gguf_type_number(*type), number);
    EXPECT_STREQ(gguf_unsupported_type_name(number), "unknown");
  }
  EXPECT_EQ(n_supported, static_cast<int>(StorageType::kMXFP4) + 1);
}

}  // namespace
}  // namespace cria

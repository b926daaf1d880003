#include "format/safetensors/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/safetensors/safetensors_builder.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::span<const std::byte> as_bytes(const std::string& file) {
  return std::as_bytes(std::span(file));
}

std::string error_of(const std::string& file) {
  auto parsed = SafetensorsFile::parse(as_bytes(file), "m.safetensors");
  return parsed.ok() ? "no error" : parsed.status().message();
}

// The error of a header with one tensor "w" and eight bytes of data.
std::string error_of_tensor(const std::string& info) {
  return error_of(safetensors_bytes(R"({"w":)" + info + "}", "12345678"));
}

TEST(Safetensors, GivesTensorsInPlace) {
  const std::string file = SafetensorsBuilder()
                               .tensor("z", "F32", {2, 3}, std::string(24, 'z'))
                               .tensor("a", "BF16", {5}, std::string(10, 'a'))
                               .tensor("m", "F16", {}, "mm")
                               .tensor("empty", "F32", {0, 7}, "")
                               .tensor("words", "I32", {2}, "12345678")
                               .tensor("shorts", "I16", {3}, "123456")
                               .build();
  EXPECT_TRUE(SafetensorsFile::recognizes(as_bytes(file)));
  auto parsed = SafetensorsFile::parse(as_bytes(file), "m.safetensors");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->tensors().size(), 6U);
  EXPECT_EQ(parsed->metadata().at("format"), "pt");
  const SafetensorsTensor* z = parsed->find_tensor("z");
  ASSERT_NE(z, nullptr);
  EXPECT_EQ(z->dtype, SafetensorsDtype::kF32);
  EXPECT_THAT(z->shape, ElementsAre(2, 3));
  EXPECT_EQ(z->bytes.size(), 24U);
  EXPECT_EQ(z->bytes.data(), as_bytes(file).data() + z->offset);
  EXPECT_EQ(z->bytes.front(), std::byte{'z'});
  EXPECT_EQ(z->bytes.back(), std::byte{'z'});
  EXPECT_EQ(parsed->find_tensor("a")->dtype, SafetensorsDtype::kBF16);
  EXPECT_EQ(parsed->find_tensor("a")->bytes.back(), std::byte{'a'});
  EXPECT_THAT(parsed->find_tensor("m")->shape, IsEmpty());
  EXPECT_THAT(parsed->find_tensor("empty")->bytes, IsEmpty());
  EXPECT_EQ(parsed->find_tensor("b"), nullptr);
  EXPECT_EQ(float_storage_type(z->dtype), StorageType::kF32);
  EXPECT_EQ(float_storage_type(parsed->find_tensor("words")->dtype), std::nullopt);
  EXPECT_STREQ(safetensors_dtype_name(parsed->find_tensor("shorts")->dtype), "I16");
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string file = SafetensorsBuilder().tensor("w", "F32", {2}, "12345678").build();
  ASSERT_EQ(error_of(file), "no error");
  for (std::size_t size = 0; size < file.size(); ++size) {
    EXPECT_THAT(error_of(file.substr(0, size)), HasSubstr("m.safetensors")) << size;
  }
}

TEST(Safetensors, RefusesBadHeaders) {
  std::string huge(16, '\xff');
  EXPECT_THAT(error_of(huge), HasSubstr("not a safetensors file: the header's length is"));
  EXPECT_FALSE(SafetensorsFile::recognizes(as_bytes(huge)));
  EXPECT_THAT(error_of(safetensors_bytes("{", "")), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(safetensors_bytes("[]", "")), HasSubstr("the header is not an object"));
  EXPECT_THAT(error_of(safetensors_bytes(R"({"a":{},"a":{}})", "")),
              HasSubstr("key \"a\" appears twice"));
  EXPECT_THAT(error_of(safetensors_bytes(R"({"__metadata__":[]})", "")),
              HasSubstr("__metadata__ is not an object"));
  EXPECT_THAT(error_of(safetensors_bytes(R"({"__metadata__":{"k":1}})", "")),
              HasSubstr("\"k\" of __metadata__ is not a text"));
}

TEST(Safetensors, RefusesOtherDtypesByName) {
  const std::string file = safetensors_bytes(
      R"({"model.norm.weight":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", "12345678");
  auto parsed = SafetensorsFile::parse(as_bytes(file), "m.safetensors");
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(parsed.status().message(),
              AllOf(HasSubstr("\"model.norm.weight\" has dtype \"F8_E4M3\""),
                    HasSubstr("supported are F32, F16, BF16, I32, I16")));
  EXPECT_THAT(error_of_tensor(R"({"shape":[2],"data_offsets":[0,8]})"), HasSubstr("has no dtype"));
  EXPECT_THAT(error_of_tensor("7"), HasSubstr("\"w\" is not an object"));
}

TEST(Safetensors, RefusesBadShapes) {
  const auto shaped = [](const std::string& shape) {
    return error_of_tensor(R"({"dtype":"F32","data_offsets":[0,8],"shape":)" + shape + "}");
  };
  EXPECT_EQ(shaped("[2]"), "no error");
  EXPECT_THAT(shaped("2"), HasSubstr("has no shape"));
  EXPECT_THAT(shaped("[-2]"), HasSubstr("has dimension \"-2\""));
  EXPECT_THAT(shaped("[2.0]"), HasSubstr("has dimension \"2.0\""));
  EXPECT_THAT(shaped("[4294967296,4294967296]"), HasSubstr("too many elements"));
  EXPECT_THAT(shaped("[18446744073709551615]"), HasSubstr("too many elements"));
  EXPECT_THAT(shaped("[1,1,1,1,1,1,1,1,2]"), HasSubstr("9 dimensions"));
  EXPECT_THAT(shaped("[3]"), HasSubstr("has 8 bytes, its shape [3] in F32 needs 12"));
}

TEST(Safetensors, RefusesBadRanges) {
  const auto placed = [](const std::string& offsets) {
    return error_of_tensor(R"({"dtype":"F32","shape":[1],"data_offsets":)" + offsets + "}");
  };
  EXPECT_EQ(placed("[4,8]"), "no error");
  EXPECT_THAT(placed("[4]"), HasSubstr("no data_offsets of two counts"));
  EXPECT_THAT(placed("[-4,0]"), HasSubstr("no data_offsets of two counts"));
  EXPECT_THAT(placed("[8,12]"), HasSubstr("[8, 12], the file has 8 bytes of data"));
  EXPECT_THAT(placed("[8,4]"), HasSubstr("[8, 4], the file has"));
  EXPECT_THAT(placed("[18446744073709551612,0]"), HasSubstr("the file has"));
}

}  // namespace
}  // namespace cria

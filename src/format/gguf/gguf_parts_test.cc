#include "format/gguf/gguf_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "format/gguf/gguf_builder.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class GgufPartsTest : public ::testing::Test {
 protected:
  GgufPartsTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("cria-gguf-parts-{}-{}", ::getpid(), test->name());
    std::filesystem::create_directories(folder_);
  }
  ~GgufPartsTest() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const GgufBuilder& builder) {
    const std::string path = folder_ / name;
    std::ofstream(path, std::ios::binary) << builder.build();
    return path;
  }

  // Part `index` of `n_parts`, with one tensor.
  static GgufBuilder part(int index, int n_parts, const std::string& tensor) {
    GgufBuilder builder;
    const auto u16 = [](int value) {
      return std::string{static_cast<char>(value & 255), static_cast<char>(value >> 8)};
    };
    builder.raw("split.no", 2, u16(index)).raw("split.count", 2, u16(n_parts));
    builder.i32("split.tensors.count", n_parts);
    builder.tensor(tensor, 0, {2}, std::string(8, static_cast<char>('0' + index)));
    return builder;
  }

  static std::string error_of(const std::string& path) {
    auto parts = open_gguf_parts(path);
    return parts.ok() ? "no error" : parts.status().message();
  }

  std::filesystem::path folder_;
};

TEST_F(GgufPartsTest, OpensASingleFile) {
  GgufBuilder builder;
  builder.tensor("w", 0, {2}, std::string(8, 'x'));
  auto parts = open_gguf_parts(write("any name.gguf", builder));
  ASSERT_TRUE(parts.ok()) << parts.status().message();
  ASSERT_EQ(parts->size(), 1U);
  EXPECT_EQ((*parts)[0].contents.find_tensor("w")->bytes.front(), std::byte{'x'});
}

TEST_F(GgufPartsTest, OpensAllPartsFromAnyOfThem) {
  std::vector<std::string> paths;
  for (int i = 0; i < 3; ++i) {
    paths.push_back(
        write(fmt::format("m-0000{}-of-00003.gguf", i + 1), part(i, 3, fmt::format("w{}", i))));
  }
  for (const std::string& path : paths) {
    auto parts = open_gguf_parts(path);
    ASSERT_TRUE(parts.ok()) << parts.status().message();
    ASSERT_EQ(parts->size(), 3U);
    for (int i = 0; i < 3; ++i) {
      const GgufTensor* tensor = (*parts)[i].contents.find_tensor(fmt::format("w{}", i));
      ASSERT_NE(tensor, nullptr);
      EXPECT_EQ(tensor->bytes.front(), static_cast<std::byte>('0' + i));
    }
  }
}

TEST_F(GgufPartsTest, NamesAMissingPart) {
  const std::string path = write("m-00001-of-00002.gguf", part(0, 2, "w0"));
  auto parts = open_gguf_parts(path);
  ASSERT_FALSE(parts.ok());
  EXPECT_EQ(parts.status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(parts.status().message(),
              AllOf(HasSubstr("m-00002-of-00002.gguf"), HasSubstr("part 2 of 2")));
}

TEST_F(GgufPartsTest, RefusesARenamedPart) {
  const std::string path = write("renamed.gguf", part(0, 2, "w0"));
  EXPECT_THAT(error_of(path), HasSubstr("should end in -00001-of-00002.gguf"));
}

TEST_F(GgufPartsTest, RefusesAPartOfAnotherModel) {
  const std::string path = write("m-00001-of-00002.gguf", part(0, 2, "w0"));
  write("m-00002-of-00002.gguf", part(2, 3, "w1"));
  EXPECT_THAT(error_of(path), HasSubstr("is part 3 of 3 by its metadata, expected part 2 of 2"));
}

TEST_F(GgufPartsTest, RefusesATensorInTwoParts) {
  const std::string path = write("m-00001-of-00002.gguf", part(0, 2, "w"));
  write("m-00002-of-00002.gguf", part(1, 2, "w"));
  EXPECT_THAT(error_of(path), HasSubstr("tensor \"w\" is in"));
}

TEST_F(GgufPartsTest, RefusesAWrongTensorCount) {
  const std::string path =
      write("m-00001-of-00002.gguf",
            part(0, 2, "w0").erase("split.tensors.count").i32("split.tensors.count", 5));
  write("m-00002-of-00002.gguf", part(1, 2, "w1"));
  EXPECT_THAT(error_of(path), HasSubstr("split.tensors.count is 5, the 2 parts have 2 tensors"));
}

TEST_F(GgufPartsTest, RefusesSenselessNumbers) {
  EXPECT_THAT(error_of(write("a.gguf", part(2, 2, "w"))), HasSubstr("split.no is 2"));
  EXPECT_THAT(error_of(write("b.gguf", GgufBuilder().i32("split.count", -1))),
              HasSubstr("split.count -1"));
  EXPECT_THAT(error_of(write("c.gguf", GgufBuilder().u32("split.count", 4000000000U))),
              HasSubstr("split.count 4000000000"));
}

TEST_F(GgufPartsTest, NamesAFileThatIsNotThere) {
  EXPECT_THAT(error_of(folder_ / "absent.gguf"), HasSubstr("absent.gguf"));
}

}  // namespace
}  // namespace cria

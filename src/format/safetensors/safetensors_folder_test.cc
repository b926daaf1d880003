#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "format/safetensors/safetensors.h"
#include "format/safetensors/safetensors_builder.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class SafetensorsFolderTest : public ::testing::Test {
 protected:
  SafetensorsFolderTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("cria-safetensors-{}-{}", ::getpid(), test->name());
    std::filesystem::create_directories(folder_);
  }
  ~SafetensorsFolderTest() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  void write_shard(const std::string& name, const std::string& tensor) {
    write(name, SafetensorsBuilder().tensor(tensor, "F16", {1}, "xx").build());
  }
  void write_index(const std::string& weight_map) {
    write("model.safetensors.index.json", R"({"weight_map":)" + weight_map + "}");
  }
  std::string error() {
    auto shards = open_safetensors_folder(folder_);
    return shards.ok() ? "no error" : shards.status().message();
  }

  std::filesystem::path folder_;
};

TEST_F(SafetensorsFolderTest, OpensASingleFile) {
  write_shard("model.safetensors", "a");
  auto shards = open_safetensors_folder(folder_);
  ASSERT_TRUE(shards.ok()) << shards.status().message();
  ASSERT_EQ(shards->size(), 1U);
  EXPECT_NE((*shards)[0].contents.find_tensor("a"), nullptr);
}

TEST_F(SafetensorsFolderTest, OpensAllShardsOfAnIndex) {
  write_shard("model-00001-of-00002.safetensors", "a");
  write_shard("model-00002-of-00002.safetensors", "b");
  write_index(R"({"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"})");
  auto shards = open_safetensors_folder(folder_);
  ASSERT_TRUE(shards.ok()) << shards.status().message();
  ASSERT_EQ(shards->size(), 2U);
  EXPECT_EQ((*shards)[0].contents.find_tensor("a")->bytes.front(), std::byte{'x'});
  EXPECT_EQ((*shards)[1].contents.find_tensor("b")->bytes.front(), std::byte{'x'});
}

TEST_F(SafetensorsFolderTest, NamesWhatIsMissing) {
  EXPECT_THAT(error(), HasSubstr("has neither model.safetensors nor model.safetensors.index.json"));
  write_index(R"({"a":"gone.safetensors"})");
  EXPECT_THAT(error(), AllOf(HasSubstr("gone.safetensors"), HasSubstr("is missing")));
}

TEST_F(SafetensorsFolderTest, RefusesNamesThatLeaveTheFolder) {
  for (const char* name : {"../a.safetensors", "/etc/passwd", "x/a", "..", ".", "", "a\\\\b"}) {
    write_index(fmt::format(R"({{"a":"{}"}})", name));
    EXPECT_THAT(error(), HasSubstr("expected the name of a file beside it")) << name;
  }
  write_index(R"({"a":1})");
  EXPECT_THAT(error(), HasSubstr("expected the name of a file beside it"));
}

TEST_F(SafetensorsFolderTest, RefusesAnIndexThatIsWrong) {
  write_shard("s1", "a");
  write_shard("s2", "b");
  write_index(R"({"a":"s2","b":"s2"})");
  EXPECT_THAT(error(), HasSubstr("tensor \"a\" is not in \"s2\""));
  write_shard("s2", "a");
  write_index(R"({"a":"s1","b":"s2"})");
  EXPECT_THAT(error(), HasSubstr("tensor \"a\" is in s1 as well"));
  write_index("{}");
  EXPECT_THAT(error(), HasSubstr("is empty"));
  write_index("[]");
  EXPECT_THAT(error(), HasSubstr("no object \"weight_map\""));
  write("model.safetensors.index.json", "{");
  EXPECT_THAT(error(), HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace cria

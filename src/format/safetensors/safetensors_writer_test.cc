#include "format/safetensors/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/mapped_file.h"
#include "format/safetensors/safetensors.h"

namespace cria {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class SafetensorsWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ = fs::path(::testing::TempDir()) / ("cria_st_" + std::to_string(::getpid()) + name);
    fs::create_directories(folder_);
    path_ = folder_ / "model.safetensors";
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
  std::string path_;
};

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  return bytes;
}

const std::vector<SafetensorsEntry> kEntries = {{"z", StorageType::kBF16, {3, 5}},
                                                {"large", StorageType::kF32, {700, 1000}},
                                                {"empty", StorageType::kF16, {0, 4}},
                                                {"a", StorageType::kF16, {7}}};
constexpr std::size_t kDataBytes = 30 + 2800000 + 14;

TEST_F(SafetensorsWriterTest, WritesWhatTheReaderReadsInWhateverPieces) {
  const std::vector<std::byte> data = pattern(kDataBytes);
  for (const std::size_t piece : {std::size_t{1000}, std::size_t{1} << 20, kDataBytes}) {
    auto writer = SafetensorsWriter::create(path_, kEntries);
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    for (std::size_t at = 0; at < data.size(); at += piece) {
      const std::span bytes = std::span(data).subspan(at, std::min(piece, data.size() - at));
      ASSERT_TRUE(writer->append(bytes).ok());
    }
    ASSERT_TRUE(writer->finish().ok());
    auto file = MappedFile::open(path_);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->bytes().size(), writer->file_bytes());
    auto parsed = SafetensorsFile::parse(file->bytes(), path_);
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    ASSERT_EQ(parsed->tensors().size(), 4U);
    EXPECT_THAT(parsed->find_tensor("large")->shape, ElementsAre(700, 1000));
    EXPECT_EQ(parsed->find_tensor("z")->dtype, SafetensorsDtype::kBF16);
    EXPECT_TRUE(std::ranges::equal(parsed->find_tensor("large")->bytes,
                                   std::span(data).subspan(30, 2800000)));
    EXPECT_TRUE(std::ranges::equal(parsed->find_tensor("a")->bytes, std::span(data).last(14)));
  }
}

TEST_F(SafetensorsWriterTest, IsCompleteOrNotThere) {
  auto writer = SafetensorsWriter::create(path_, kEntries);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->append(pattern(kDataBytes - 1)).ok());
  EXPECT_THAT(writer->append(pattern(2)).message(), HasSubstr("expected at most 1"));
  EXPECT_FALSE(fs::exists(path_));
  EXPECT_FALSE(writer->finish().ok());
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(SafetensorsWriterTest, RefusesWhatTheFormatCannotHold) {
  const auto error = [&](const SafetensorsEntry& entry) {
    auto writer = SafetensorsWriter::create(path_, std::span(&entry, 1));
    return writer.ok() ? "no error" : writer.status().message();
  };
  EXPECT_THAT(error({"w", StorageType::kQ4_0, {32}}), HasSubstr("\"w\" is Q4_0"));
  EXPECT_THAT(error({"w", StorageType::kF32, {-1}}), HasSubstr("dimension -1"));
  EXPECT_THAT(error({"w", StorageType::kF32, {INT64_MAX, 2}}), HasSubstr("too many"));
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace cria

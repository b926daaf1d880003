#include "format/pte/pte_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/mapped_file.h"
#include "format/pte/pte_example.h"
#include "format/pte/pte_reader.h"

namespace cria::pte {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

// A folder of its own for each test.
class PteWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ = fs::path(::testing::TempDir()) / ("cria_pte_" + std::to_string(::getpid()) + name);
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = (folder_ / "model.pte").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Every file in the folder.
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  static Status append_all(PteWriter& writer) {
    for (std::size_t i = 0; i < writer.program().segments.size(); ++i) {
      CRIA_RETURN_IF_ERROR(writer.append(i, segment_bytes(writer.program(), i)));
    }
    return {};
  }
  Status write(const Program& program) {
    CRIA_ASSIGN_OR_RETURN(PteWriter writer, PteWriter::create(path_, program));
    CRIA_RETURN_IF_ERROR(append_all(writer));
    return writer.finish();
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(PteWriterTest, WritesWhatTheReaderReads) {
  const Status status = write(example_program());
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(files(), std::vector<std::string>{"model.pte"});
  const MappedFile mapped = MappedFile::open(path_).value();
  EXPECT_TRUE(std::ranges::equal(mapped.bytes(), example_file(example_program())));
  EXPECT_TRUE(read_pte(mapped.bytes(), path_).ok());
}

TEST_F(PteWriterTest, TakesSegmentsInPieces) {
  Result<PteWriter> writer = PteWriter::create(path_, example_program());
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  for (const std::uint32_t segment : {0u, 1u, 3u}) {  // the empty one is left out
    const std::vector<std::byte> bytes = segment_bytes(writer->program(), segment);
    ASSERT_TRUE(writer->append(segment, std::span(bytes).first(33)).ok());
    ASSERT_TRUE(writer->append(segment, std::span(bytes).subspan(33)).ok());
  }
  ASSERT_TRUE(writer->finish().ok());
  const MappedFile mapped = MappedFile::open(path_).value();
  EXPECT_TRUE(std::ranges::equal(mapped.bytes(), example_file(example_program())));
}

TEST_F(PteWriterTest, KeepsTheOldFileUntilItIsFinished) {
  std::ofstream(path_) << "the old file";
  Result<PteWriter> writer = PteWriter::create(path_, example_program());
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(append_all(*writer).ok());
  EXPECT_EQ(fs::file_size(path_), 12u);
  PteWriter moved = std::move(*writer);
  ASSERT_TRUE(moved.finish().ok());
  EXPECT_EQ(fs::file_size(path_), moved.file_bytes());
  EXPECT_EQ(files(), std::vector<std::string>{"model.pte"});
}

TEST_F(PteWriterTest, LeavesNothingWhenItIsNotFinished) {
  {
    Result<PteWriter> writer = PteWriter::create(path_, example_program());
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(append_all(*writer).ok());
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(PteWriterTest, IsCheckedBeforeItHasItsName) {
  std::ofstream(path_) << "precious";
  for (const bool passes : {false, true}) {
    for (const bool keep : {false, true}) {
      Result<PteWriter> writer = PteWriter::create(path_, example_program());
      ASSERT_TRUE(append_all(*writer).ok());
      const auto check = [&](const std::string& path) -> Status {
        EXPECT_EQ(fs::file_size(path_), 8u);
        CRIA_ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::open(path));
        EXPECT_TRUE(std::ranges::equal(mapped.bytes(), example_file(example_program())));
        return passes ? Status() : bad_input("not good enough");
      };
      const Status status = writer->finish(check, keep);
      EXPECT_EQ(status.ok(), passes) << status.message();
      EXPECT_EQ(fs::file_size(path_) == 8, !passes || !keep);
      EXPECT_EQ(files(), std::vector<std::string>{"model.pte"});
    }
  }
}

TEST_F(PteWriterTest, LeavesNothingWhenTheProcessIsKilled) {
  {
    const Result<PartialFile> probe = PartialFile::create(path_, 1);
    ASSERT_TRUE(probe.ok());
    if (!files().empty()) GTEST_SKIP() << "SKIPPED: this file system has no files without a name";
  }
  const pid_t child = ::fork();
  if (child == 0) {
    Result<PteWriter> writer = PteWriter::create(path_, example_program());
    if (writer.ok() && append_all(*writer).ok()) ::raise(SIGKILL);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(files().empty());
}

TEST_F(PteWriterTest, RefusesToFinishBeforeTheEnd) {
  Result<PteWriter> writer = PteWriter::create(path_, example_program());
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->append(0, segment_bytes(writer->program(), 0)).ok());
  const Status status = writer->finish();
  EXPECT_EQ(status.code(), ErrorCode::kInternal);
  EXPECT_TRUE(files().empty());
}

TEST_F(PteWriterTest, RefusesSegmentsOutOfOrderOrTooLong) {
  Result<PteWriter> writer = PteWriter::create(path_, example_program());
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(writer->append(1, {}).code(), ErrorCode::kInternal);  // 0 is not complete
  EXPECT_EQ(writer->append(4, {}).code(), ErrorCode::kInternal);
  const std::vector<std::byte> too_long(101);
  EXPECT_EQ(writer->append(0, too_long).code(), ErrorCode::kInternal);
  EXPECT_TRUE(append_all(*writer).ok());
  EXPECT_EQ(writer->append(0, std::span(too_long).first(1)).code(), ErrorCode::kInternal);
  EXPECT_TRUE(writer->finish().ok());
}

TEST_F(PteWriterTest, RefusesProgramsThatBreakARule) {
  Program program = example_program();
  program.named_data[0].segment_index = 9;
  const Status status = write(program);
  EXPECT_EQ(status.code(), ErrorCode::kBadInput);
  EXPECT_THAT(status.message(), HasSubstr("model.pte: named data"));
  program = example_program();
  program.segments[1].size_bytes = ~std::uint64_t{0};
  EXPECT_EQ(write(program).code(), ErrorCode::kUnsupported);
  EXPECT_TRUE(files().empty());
}

TEST_F(PteWriterTest, NamesWhatItCannotWriteTo) {
  EXPECT_EQ(PteWriter::create((folder_ / "none" / "model.pte").string(), Program{}).status().code(),
            ErrorCode::kIo);
  EXPECT_EQ(PteWriter::create(folder_.string(), Program{}).status().code(), ErrorCode::kIo);
  EXPECT_EQ(PteWriter::create("/dev/null", Program{}).status().code(), ErrorCode::kIo);
  EXPECT_EQ(PteWriter::create("", Program{}).status().code(), ErrorCode::kInvalidArgument);
}

TEST_F(PteWriterTest, WritesThroughALink) {
  fs::create_directories(folder_ / "elsewhere");
  std::ofstream(folder_ / "elsewhere" / "real.pte") << "old";
  fs::create_symlink(folder_ / "elsewhere" / "real.pte", path_);
  ASSERT_TRUE(write(example_program()).ok());
  EXPECT_TRUE(fs::is_symlink(path_));
  EXPECT_GT(fs::file_size(folder_ / "elsewhere" / "real.pte"), 4096u);
}

// The nearest to a full disk that every machine can do: a limit on the size of files, which the
// system enforces by a signal that would end this program.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t size_bytes) {
    ::getrlimit(RLIMIT_FSIZE, &previous_);
    const rlimit limit{size_bytes, previous_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &previous_); }

 private:
  rlimit previous_;
};

// Found before the work is done, where the file system can reserve space.
TEST_F(PteWriterTest, AFullDiskIsOneClearError) {
  const FileSizeLimit limit(8192);
  const Status status = write(example_program());
  EXPECT_EQ(status.code(), ErrorCode::kOutOfResources);
  EXPECT_THAT(status.message(), HasSubstr("model.pte: cannot write"));
  EXPECT_TRUE(files().empty());
}

TEST_F(PteWriterTest, AFullDiskOnTheWayLeavesNothing) {
  Result<PteWriter> writer = PteWriter::create(path_, example_program());
  ASSERT_TRUE(writer.ok());
  {
    const FileSizeLimit limit(4096 + 100);
    Status status = append_all(*writer);
    if (status.ok()) status = writer->finish();
    EXPECT_EQ(status.code(), ErrorCode::kOutOfResources);
  }
  EXPECT_TRUE(files().empty());
  EXPECT_FALSE(writer->finish().ok());
  EXPECT_TRUE(files().empty());
  // The signal did not end the program, and is as it was before.
  sigset_t signals;
  pthread_sigmask(SIG_BLOCK, nullptr, &signals);
  EXPECT_EQ(sigismember(&signals, SIGXFSZ), 0);
  sigpending(&signals);
  EXPECT_EQ(sigismember(&signals, SIGXFSZ), 0);
}

// What is more than a piece of the file does not wait for the end.
TEST_F(PteWriterTest, AFullDiskEndsALongSegment) {
  Program program = example_program();
  program.segments[0].size_bytes = std::uint64_t{5} << 20;
  Result<PteWriter> writer = PteWriter::create(path_, program);
  ASSERT_TRUE(writer.ok());
  const std::vector<std::byte> bytes(program.segments[0].size_bytes);
  {
    const FileSizeLimit limit(std::uint64_t{1} << 20);
    EXPECT_EQ(writer->append(0, bytes).code(), ErrorCode::kOutOfResources);
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(PteWriterTest, AnUnfinishedFileIsNoProgram) {
  Result<PartialFile> file = PartialFile::create(path_, 100);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->write_at(8, segment_bytes(example_program(), 0)).ok());
  ASSERT_TRUE(file->commit().ok());
  const MappedFile mapped = MappedFile::open(path_).value();
  EXPECT_FALSE(read_pte(mapped.bytes(), path_).ok());
  EXPECT_FALSE(file->is_open());
  EXPECT_EQ(file->write_at(0, {}).code(), ErrorCode::kInternal);
  EXPECT_EQ(file->commit().code(), ErrorCode::kInternal);
}

}  // namespace
}  // namespace cria::pte

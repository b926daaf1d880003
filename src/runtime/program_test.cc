#include "runtime/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "format/pte/pte_reader.h"
#include "runtime/test_program.h"

namespace cria {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

pte::ProgramSpec small_spec() {
  pte::ProgramSpec spec;
  spec.constants = {{"get_bos_id", {std::int64_t{7}}},
                    {"use_kv_cache", {true}},
                    {"get_eos_ids", {std::int64_t{3}, std::int64_t{5}}}};
  spec.methods = {{"run",
                   {{pte::ArgumentRole::kInput, pte::ScalarType::kByte, {4}},
                    {pte::ArgumentRole::kOutput, pte::ScalarType::kByte, {4}}},
                   "Nobody",
                   bytes_of("blob"),
                   {}}};
  return spec;
}

class ProgramTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Status status = write_program(file_.path(), small_spec(),
                                  {{"a", bytes_of("first")}, {"b", bytes_of("second")}});
    ASSERT_TRUE(status.ok()) << status.message();
    Result<std::shared_ptr<const Program>> program = Program::load(file_.path());
    ASSERT_TRUE(program.ok()) << program.status().message();
    program_ = *program;
  }

  TemporaryFile file_;
  std::shared_ptr<const Program> program_;
};

TEST_F(ProgramTest, ListsMethods) {
  EXPECT_TRUE(program_->has_method("run"));
  EXPECT_FALSE(program_->has_method("walk"));
  EXPECT_EQ(program_->method_names().size(), 4u);
  EXPECT_EQ((*program_->plan("run"))->name, "run");
  Status missing = program_->plan("walk").status();
  EXPECT_EQ(missing.code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("run"));
}

TEST_F(ProgramTest, ReadsConstants) {
  EXPECT_EQ(*program_->constant("get_bos_id"), 7);
  EXPECT_EQ(*program_->constant("use_kv_cache"), 1);
  EXPECT_THAT(*program_->constants("get_eos_ids"), ElementsAre(3, 5));
  EXPECT_EQ(program_->constant("get_eos_ids").status().code(), ErrorCode::kBadInput);
  EXPECT_EQ(program_->constant("run").status().code(), ErrorCode::kBadInput);
  EXPECT_EQ(program_->constant("absent").status().code(), ErrorCode::kNotFound);
}

TEST_F(ProgramTest, FindsNamedDataInPlace) {
  Result<std::span<const std::byte>> data = program_->named_data("b");
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(std::vector<std::byte>(data->begin(), data->end()), bytes_of("second"));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data->data()) % 4096, 0u);
  EXPECT_EQ(program_->named_data("c").status().code(), ErrorCode::kNotFound);
  EXPECT_EQ(program_->named_data_bytes(), 11u);
}

TEST_F(ProgramTest, EditsStayInMemoryAndCanBeUndone) {
  Result<std::shared_ptr<Program>> editable = Program::load_for_edits(file_.path());
  ASSERT_TRUE(editable.ok()) << editable.status().message();
  Program& program = **editable;
  const std::span<std::byte> b = *program.edit_named_data("b");
  b[0] = std::byte{'S'};
  EXPECT_TRUE(std::ranges::equal(*program.named_data("b"), bytes_of("Second")));
  EXPECT_TRUE(std::ranges::equal(*program.named_data("a"), bytes_of("first")));
  EXPECT_TRUE(std::ranges::equal(*program_->named_data("b"), bytes_of("second")));
  ASSERT_TRUE(program.undo_edits("b").ok());
  EXPECT_TRUE(std::ranges::equal(*program.named_data("b"), bytes_of("second")));
  EXPECT_EQ(program.edit_named_data("c").status().code(), ErrorCode::kNotFound);
}

TEST(Program, AMissingFileIsNotFound) {
  EXPECT_EQ(Program::load("/no/such/file.pte").status().code(), ErrorCode::kNotFound);
}

// Wherever the file is cut, loading fails with a clear error, or nothing that is there was lost.
TEST_F(ProgramTest, EveryTruncationIsAnError) {
  const auto full = std::filesystem::file_size(file_.path());
  program_.reset();
  for (std::uintmax_t size = full - 1; size > 0; size = size * 7 / 8) {
    std::filesystem::resize_file(file_.path(), size);
    Result<std::shared_ptr<const Program>> program = Program::load(file_.path());
    ASSERT_FALSE(program.ok()) << size;
    EXPECT_EQ(program.status().code(), ErrorCode::kBadInput) << size;
    EXPECT_THAT(program.status().message(), HasSubstr(file_.path()));
  }
}

}  // namespace
}  // namespace cria

#include "format/statistics/calibration_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/aligned_buffer.h"
#include "format/statistics/statistics_builder.h"
#include "format/statistics/statistics_file.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kCols = 130;  // three blocks of rows
constexpr std::int64_t kWindows = 5;

StatisticsHeader test_header() {
  StatisticsHeader header;
  header.model = fingerprint_for_test();
  header.window_tokens = 1;
  header.has_hessian = true;
  header.texts = {{1, 0, kWindows}};
  header.inputs = {{"blk.0.attn_in", kCols}, {"output_in", 3}};
  return header;
}

// Adds what window `w` gives, for this test: each 64-bit word of unit `u` grows by w + u + 1.
void add_window(std::int64_t w, std::int64_t u, std::span<std::byte> bytes) {
  auto* words = reinterpret_cast<std::uint64_t*>(bytes.data());
  for (std::size_t i = 0; i < bytes.size() / 8; ++i)
    words[i] += static_cast<std::uint64_t>(w + u + 1);
}

class CalibrationStateTest : public ::testing::Test {
 protected:
  CalibrationStateTest()
      : folder_(std::filesystem::temp_directory_path() / fmt::format("state{}", getpid())),
        out_(folder_ / "out.stats") {
    std::filesystem::create_directories(folder_);
  }
  ~CalibrationStateTest() override { std::filesystem::remove_all(folder_); }

  // Works on, `n_steps` units at most; true when the run is complete.
  static bool work(CalibrationState& state, int n_steps) {
    std::vector<std::byte> bytes;
    while (state.position().first_window < kWindows) {
      const CalibrationPosition& at = state.position();
      if (at.end_window == at.first_window) {
        EXPECT_TRUE(state.begin_batch(std::min(at.first_window + 2, kWindows)).ok());
      }
      while (at.next_unit < std::ssize(state.units())) {
        if (n_steps-- == 0) return false;
        const auto unit = static_cast<std::size_t>(at.next_unit);
        bytes.resize(state.units()[unit].size_bytes);
        EXPECT_TRUE(state.read_unit(unit, bytes).ok());
        for (std::int64_t w = at.first_window; w < at.end_window; ++w)
          add_window(w, at.next_unit, bytes);
        EXPECT_TRUE(state.write_next_unit(bytes).ok());
      }
      EXPECT_TRUE(state.end_batch(0.5, 7).ok());
    }
    return true;
  }
  CalibrationState open(const StatisticsHeader& header = test_header()) {
    auto state = CalibrationState::open(out_, header);
    EXPECT_TRUE(state.ok()) << state.status().message();
    return std::move(*state);
  }
  std::string error_of(const StatisticsHeader& header) {
    auto state = CalibrationState::open(out_, header);
    return state.ok() ? "no error" : state.status().message();
  }
  std::string state_path() const { return CalibrationState::path_of(out_); }
  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  std::string uninterrupted() {
    {
      CalibrationState state = open();
      EXPECT_TRUE(work(state, 1000));
      EXPECT_TRUE(state.finish({}).ok());
    }
    std::string bytes = read(out_);
    std::filesystem::remove(out_);
    return bytes;
  }

  std::filesystem::path folder_;
  std::string out_;
};

TEST_F(CalibrationStateTest, AppearsWholeAndCanBeRead) {
  uninterrupted();
  CalibrationState state = open();
  EXPECT_FALSE(std::filesystem::exists(out_));
  EXPECT_FALSE(StatisticsFile::open(state_path()).ok()) << "does not look complete";
  ASSERT_TRUE(work(state, 1000));
  EXPECT_EQ(state.position().n_scored, 3 * 7);
  ASSERT_TRUE(state.finish({}).ok());
  EXPECT_FALSE(std::filesystem::exists(state_path()));
  auto file = StatisticsFile::open(out_);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_TRUE(file->check_triangle(0).ok());
  EXPECT_EQ(file->view().triangle(1)[0], 1 + 2 + 3 + 4 + 5 + kWindows * 5);  // unit 5
}

TEST_F(CalibrationStateTest, StoppedAnywhereItGoesOnToTheSameBytes) {
  const std::string whole = uninterrupted();
  for (int n_steps = 0; n_steps < 20; ++n_steps) {
    {
      CalibrationState state = open();
      if (!work(state, n_steps) && n_steps % 2 == 0) {
        EXPECT_TRUE(state.pause().ok());
      }
    }
    CalibrationState state = open();
    ASSERT_TRUE(work(state, 1000));
    ASSERT_TRUE(state.finish({}).ok());
    ASSERT_EQ(read(out_), whole) << n_steps;
    std::filesystem::remove(out_);
  }
}

// A process that ends in the middle of a write leaves the unit in the journal and half of it in its
// place.
TEST_F(CalibrationStateTest, AHalfWrittenUnitIsWrittenAgain) {
  const std::string whole = uninterrupted();
  for (const int n_steps : {0, 3, 7}) {
    std::string before, after;
    {
      CalibrationState state = open();
      work(state, n_steps);
      before = read(state_path());
      work(state, 1);
      after = read(state_path());
    }
    // What write_next_unit does, up to half of its last step but one.
    const StatisticsHeader header = test_header();
    const std::uint64_t record_at = align_up(layout_of(header).file_bytes, 4096);
    CalibrationState state = open();
    const CalibrationUnit& unit =
        state.units()[static_cast<std::size_t>(state.position().next_unit - 1)];
    std::string torn = before;
    torn.replace(record_at + 4096, std::string::npos, after.substr(record_at + 4096));
    torn.replace(unit.offset, unit.size_bytes / 2, after.substr(unit.offset, unit.size_bytes / 2));
    const std::uint64_t journal_bytes = unit.size_bytes;
    std::memcpy(torn.data() + record_at + 8 + sizeof(CalibrationPosition), &journal_bytes, 8);
    std::ofstream(state_path(), std::ios::binary) << torn;
    { CalibrationState old = std::move(state); }  // lets go of the lock
    CalibrationState resumed = open();
    ASSERT_TRUE(work(resumed, 1000));
    ASSERT_TRUE(resumed.finish({}).ok());
    EXPECT_EQ(read(out_), whole) << n_steps;
    std::filesystem::remove(out_);
  }
}

TEST_F(CalibrationStateTest, RefusesAnotherRun) {
  { CalibrationState state = open(); }
  StatisticsHeader other = test_header();
  other.model.ffn += 1;
  EXPECT_THAT(error_of(other), HasSubstr("another model: ffn is 32, expected 33"));
  EXPECT_THAT(error_of(other), HasSubstr("delete " + state_path()));
  other = test_header();
  other.window_tokens = 2;
  EXPECT_THAT(error_of(other), HasSubstr("windows of 1 tokens, expected 2"));
  other = test_header();
  other.texts[0].text_hash = 2;
  EXPECT_THAT(error_of(other), HasSubstr("another text"));
  other = test_header();
  other.has_hessian = false;
  EXPECT_THAT(error_of(other), HasSubstr("with Hessians, expected none"));
  other = test_header();
  other.inputs.pop_back();
  EXPECT_THAT(error_of(other), HasSubstr("other inputs"));
  EXPECT_EQ(error_of(test_header()), "no error");
}

TEST_F(CalibrationStateTest, RefusesWhatIsNoStateAndWhatAnotherProcessWrites) {
  std::ofstream(state_path()) << "something else";
  EXPECT_THAT(error_of(test_header()), HasSubstr("no state of an interrupted run"));
  std::filesystem::remove(state_path());
  {
    CalibrationState state = open();
    EXPECT_THAT(error_of(test_header()), HasSubstr("another run is writing it"));
  }
  std::string bytes = read(state_path());
  std::ofstream(state_path(), std::ios::binary) << bytes.substr(0, 8192);
  EXPECT_THAT(error_of(test_header()), HasSubstr("has 8192 bytes"));
  const std::uint64_t record_at = align_up(layout_of(test_header()).file_bytes, 4096);
  std::string damaged = bytes;
  damaged[record_at + 9] = 1;  // the first window is 256
  std::ofstream(state_path(), std::ios::binary) << damaged;
  EXPECT_THAT(error_of(test_header()), HasSubstr("damaged"));
  std::string other_boot = bytes;
  other_boot[record_at + sizeof(CalibrationPosition) + 8 + 8 + 4] ^= 1;
  std::ofstream(state_path(), std::ios::binary) << other_boot;
  EXPECT_THAT(error_of(test_header()), HasSubstr("the machine stopped"));
}

TEST_F(CalibrationStateTest, ACancelledFinishIsNoFinish) {
  const std::string whole = uninterrupted();
  {
    CalibrationState state = open();
    ASSERT_TRUE(work(state, 1000));
    const auto cancel = [](std::string_view, std::uint64_t, std::uint64_t) { return false; };
    EXPECT_EQ(state.finish(cancel).code(), ErrorCode::kCancelled);
    EXPECT_FALSE(std::filesystem::exists(out_));
  }
  CalibrationState state = open();
  EXPECT_EQ(state.position().first_window, kWindows);
  ASSERT_TRUE(state.finish({}).ok());
  EXPECT_EQ(read(out_), whole);
}

}  // namespace
}  // namespace cria

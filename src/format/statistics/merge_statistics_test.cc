#include "format/statistics/merge_statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "format/statistics/statistics_builder.h"

namespace cria {
namespace {

using ::testing::HasSubstr;

using Rows = std::map<std::string, std::vector<float>>;
constexpr std::int64_t kWindowTokens = 5;

// Activations of very different sizes, so that sums of floats would depend on their order.
Rows random_window(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Rows rows;
  for (const auto& [name, n_cols] : {std::pair{"blk.0.attn_in", 7}, {"output_in", 3}}) {
    for (std::int64_t i = 0; i < kWindowTokens * n_cols; ++i) {
      rows[name].push_back(normal(random) * std::exp2(3 * normal(random)));
    }
  }
  return rows;
}

class MergeTest : public ::testing::Test {
 protected:
  MergeTest() : folder_(std::filesystem::temp_directory_path() / fmt::format("merge{}", getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~MergeTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ / name; }

  StatisticsFile write(const std::string& bytes) {
    const std::string to = path(fmt::format("part{}", n_parts_++));
    std::ofstream(to, std::ios::binary) << bytes;
    auto file = StatisticsFile::open(to);
    EXPECT_TRUE(file.ok()) << file.status().message();
    return std::move(*file);
  }
  // Windows [first, first + n) of a random text.
  StatisticsFile part(std::int64_t first, std::int64_t n, std::uint64_t text = 1) {
    StatisticsBuilder builder(kWindowTokens);
    builder.start_at(first, text).input("blk.0.attn_in", 7).input("output_in", 3);
    for (std::int64_t w = first; w < first + n; ++w) {
      builder.window(random_window(100 * text + static_cast<std::uint64_t>(w)));
    }
    return write(builder.bytes());
  }
  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  std::string merged(const std::vector<StatisticsFile>& parts) {
    const Status status = merge_statistics(parts, path("out"), {});
    return status.ok() ? read(path("out")) : status.message();
  }

  std::filesystem::path folder_;
  int n_parts_ = 0;
};

TEST_F(MergeTest, EverySplitInEveryOrderGivesTheSameBytes) {
  const std::string whole = read(part(0, 12).path());
  std::mt19937_64 random(5);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<std::int64_t> cuts = {0, 12};
    for (int i = 0; i < 4; ++i) cuts.push_back(static_cast<std::int64_t>(random() % 13));
    std::ranges::sort(cuts);
    std::vector<StatisticsFile> parts;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      if (cuts[i + 1] > cuts[i]) parts.push_back(part(cuts[i], cuts[i + 1] - cuts[i]));
    }
    std::ranges::shuffle(parts, random);
    ASSERT_EQ(merged(parts), whole);
  }
}

TEST_F(MergeTest, MergingMergedFilesIsTheSame) {
  const std::string whole = read(part(3, 6).path());
  std::vector<StatisticsFile> ends;
  ends.push_back(part(7, 2));
  ends.push_back(part(3, 1));
  const std::string of_ends = merged(ends);
  std::vector<StatisticsFile> all;
  all.push_back(part(4, 3));
  all.push_back(write(of_ends));
  EXPECT_EQ(merged(all), whole);
}

TEST_F(MergeTest, RefusesWhatDoesNotFit) {
  const auto error = [this](StatisticsFile b) {
    std::vector<StatisticsFile> parts;
    parts.push_back(part(0, 2));
    parts.push_back(std::move(b));
    return merged(parts);
  };
  const auto one = [](StatisticsBuilder builder) {
    return builder.start_at(2).input("blk.0.attn_in", 7).input("output_in", 3);
  };
  EXPECT_THAT(error(part(1, 2)), HasSubstr("window 1 of the text"));
  ModelFingerprint other = fingerprint_for_test();
  other.weight_hashes[0] = 5;
  const Rows rows = random_window(1);
  EXPECT_THAT(error(write(one(StatisticsBuilder(5, true, other)).window(rows).bytes())),
              HasSubstr("the weights of layer 0 differ"));
  EXPECT_THAT(error(write(one(StatisticsBuilder(5, false)).window(rows).bytes())),
              HasSubstr("has no Hessians"));
  EXPECT_THAT(
      error(write(StatisticsBuilder(5).start_at(2).input("blk.0.attn_in", 7).window(rows).bytes())),
      HasSubstr("other inputs"));
  EXPECT_FALSE(std::filesystem::exists(path("out")));
  EXPECT_THAT(merged({}), HasSubstr("no statistics"));
}

TEST_F(MergeTest, RefusesSumsThatNoLongerFit) {
  const auto huge = [this](std::int64_t first) {
    StatisticsBuilder builder(1);
    builder.start_at(first).input("output_in", 1);
    // 46340^2 is just below 2^31; 2048 windows of it are 2^62 units of 2^-20.
    for (int i = 0; i < 1500; ++i) builder.window({{"output_in", {46340}}});
    return write(builder.bytes());
  };
  std::vector<StatisticsFile> parts;
  parts.push_back(huge(0));
  parts.push_back(huge(1500));
  EXPECT_THAT(merged(parts), HasSubstr("the sums of output_in over all parts do not fit"));
}

}  // namespace
}  // namespace cria

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "base/thread_pool.h"
#include "cria/machine.h"
#include "kernels/peak/peak.h"
#include "machine/last_cache.h"
#include "machine/paged_buffer.h"

namespace cria {
namespace {

constexpr std::uint64_t kFewBytes = std::uint64_t{4} << 20;

TEST(MeasureMachine, MeasuresEveryRate) {
  const Result<MachineReport> report =
      measure_machine({.seconds = 0, .read_bytes = kFewBytes, .n_threads = {1, 1000}});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->n_cores, available_cores());
  EXPECT_FALSE(report->isa.empty());
  EXPECT_GT(report->seconds, 0);
  std::set<std::string> pages;
  for (const ReadRate& rate : report->reads) {
    EXPECT_GT(rate.bytes_per_second, 0);
    EXPECT_LE(rate.n_threads, report->n_cores);
    EXPECT_LE(rate.bytes_per_second, report->best_read().bytes_per_second);
    pages.insert(rate.pages);
  }
  EXPECT_TRUE(pages.contains("4K"));
  for (const char* type : {"int8", "bf16", "f32"}) {
    for (int n_threads : {1, report->n_cores, report->n_cores + 5}) {
      EXPECT_GT(report->macs_per_second(type, n_threads), 0) << type << " " << n_threads;
    }
  }
  EXPECT_EQ(report->fork_joins.empty(), report->n_cores == 1);
  for (const ForkJoinTime& time : report->fork_joins) {
    EXPECT_GT(time.seconds, 0);
    EXPECT_LE(time.n_threads, report->n_cores);
  }
  const PeakLoops loops = peak_loops(best_isa());
  EXPECT_EQ(report->macs_per_second("int8_tiles", 1) > 0, loops.int8_tiles.run != nullptr);
  EXPECT_EQ(report->macs_per_second("bf16_tiles", 1) > 0, loops.bf16_tiles.run != nullptr);
  EXPECT_EQ(report->macs_per_second("int7", 1), 0);
  EXPECT_EQ(report->macs_per_second("int8", 0), 0);
}

TEST(MeasureMachine, OptionsThatMakeNoSense) {
  for (double seconds :
       {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_EQ(measure_machine({.seconds = seconds}).status().code(), ErrorCode::kInvalidArgument);
  }
}

// Two processors that share 32 MB, one with 8 MB of its own.
TEST(LastCache, CountsEachCacheOnce) {
  const std::filesystem::path root =
      std::filesystem::path(::testing::TempDir()) / "cria_last_cache";
  const auto add = [&root](int cpu, int index, const char* shared, const char* size) {
    const auto folder = root / fmt::format("cpu{}/cache/index{}", cpu, index);
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "shared_cpu_list") << shared << "\n";
    std::ofstream(folder / "size") << size << "\n";
  };
  for (int cpu : {0, 1}) {
    add(cpu, 0, cpu == 0 ? "0" : "1", "32K");
    add(cpu, 1, "0-1", "32768K");
  }
  add(2, 0, "2", "8192K");
  EXPECT_EQ(last_cache_bytes(root), std::uint64_t{40} << 20);
  std::filesystem::remove_all(root);
  EXPECT_EQ(last_cache_bytes(root), 0u);
}

TEST(PagedBuffer, GivesAlignedMemoryOfEitherKind) {
  for (Pages pages : {Pages::kSmall, Pages::kHuge}) {
    Result<PagedBuffer> buffer = PagedBuffer::allocate(kFewBytes, pages);
    if (!buffer.ok()) {
      EXPECT_EQ(buffer.status().code(), ErrorCode::kUnsupported);
      continue;
    }
    EXPECT_EQ(buffer->bytes().size(), kFewBytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->bytes().data()) % (2 << 20), 0u);
    buffer->bytes().front() = buffer->bytes().back() = std::byte{1};
  }
}

}  // namespace
}  // namespace cria

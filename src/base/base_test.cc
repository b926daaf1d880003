#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <thread>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/byte_reader.h"
#include "base/cpu_features.h"
#include "base/mapped_file.h"
#include "base/partial_file.h"
#include "base/thread_pool.h"

namespace cria {
namespace {

TEST(Result, CarriesValueOrStatus) {
  Result<int> good = 7;
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(*good, 7);
  Result<int> bad = bad_input("{}: {} found", "x.gguf", 3);
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.status().code(), ErrorCode::kBadInput);
  EXPECT_EQ(std::move(bad).status().with_context("loading").message(), "loading: x.gguf: 3 found");
}

TEST(ByteReader, StopsAtTheEnd) {
  const std::byte bytes[6] = {std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{9}};
  ByteReader reader(bytes, "six bytes");
  EXPECT_EQ(*reader.read<std::uint32_t>("count"), 1u);
  auto tail = reader.read<std::uint32_t>("size");
  ASSERT_FALSE(tail.ok());
  EXPECT_EQ(tail.status().message(), "six bytes: size at byte 4 needs 4 bytes, 2 are left");
  EXPECT_FALSE(reader.take(~0ull, "name").ok());
  EXPECT_EQ(reader.remaining(), 2u);
}

TEST(MappedFile, MapsWholeFileAndNamesMissingOnes) {
  const std::string path = testing::TempDir() + "mapped_file_test";
  std::ofstream(path) << "hello";
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->bytes().size(), 5u);
  std::ofstream(path, std::ios::trunc).flush();
  EXPECT_EQ(MappedFile::open(path)->bytes().size(), 0u);
  std::remove(path.c_str());
  auto missing = MappedFile::open(path);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().code(), ErrorCode::kNotFound);
  EXPECT_NE(missing.status().message().find(path), std::string::npos);
  EXPECT_FALSE(MappedFile::open(testing::TempDir()).ok());
}

// Behind each other, across the pieces that the file is written in, with a gap, and backwards.
TEST(PartialFile, HasWhatWasWrittenLastAtEachOffset) {
  const std::string path = testing::TempDir() + "partial_file_test";
  constexpr std::size_t kSize = (std::size_t{5} << 20) + 123;
  std::vector<std::byte> expected(kSize);
  Result<PartialFile> file = PartialFile::create(path, kSize);
  ASSERT_TRUE(file.ok());
  std::uint8_t value = 0;
  const auto write = [&](std::size_t offset, std::size_t size) {
    const std::vector<std::byte> bytes(size, std::byte{++value});
    ASSERT_TRUE(file->write_at(offset, bytes).ok());
    std::copy(bytes.begin(), bytes.end(), expected.begin() + static_cast<std::ptrdiff_t>(offset));
  };
  for (std::size_t at = 100; at < (std::size_t{3} << 20); at += 100'000) write(at, 100'000);
  write(4'000'000, 1'000'000);
  write(0, 200);
  write(200, 50);
  write(2'000'000, 200'000);
  {
    const Result<std::string> so_far = file->readable_path();
    ASSERT_TRUE(so_far.ok());
    const MappedFile mapped = MappedFile::open(*so_far).value();
    EXPECT_TRUE(
        std::ranges::equal(mapped.bytes(), std::span(expected).first(mapped.bytes().size())));
  }
  write(kSize - 1000, 1000);
  PartialFile moved = std::move(*file);
  ASSERT_TRUE(moved.commit().ok());
  const MappedFile mapped = MappedFile::open(path).value();
  EXPECT_TRUE(std::ranges::equal(mapped.bytes(), expected));
  std::remove(path.c_str());
}

TEST(AlignedBuffer, IsZeroedAlignedAndRefusesTheAbsurd) {
  auto buffer = AlignedBuffer::allocate(1000);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % kPageAlignment, 0u);
  for (std::byte b : buffer->bytes()) EXPECT_EQ(b, std::byte{0});
  buffer->data()[5] = std::byte{5};
  buffer->wipe();
  EXPECT_EQ(buffer->data()[5], std::byte{0});
  EXPECT_EQ(AlignedBuffer::allocate(~std::size_t{0}).status().code(), ErrorCode::kOutOfResources);
}

TEST(ThreadPool, RunsEveryTaskOnceWithAnyNumberOfThreads) {
  using Case = std::pair<int, int>;
  for (const auto& [n_threads, spin_us] :
       {Case{1, 100}, Case{2, 100}, Case{5, 100}, Case{2, 0}, Case{5, 0}, Case{3, -1}}) {
    ThreadPool pool(n_threads, spin_us);
    for (int round = 0; round < 200; ++round) {
      std::vector<std::atomic<int>> counts(round);
      pool.parallel_for(round, [&](std::int64_t i, int thread) {
        EXPECT_LT(thread, pool.n_threads());
        counts[i].fetch_add(1);
      });
      for (auto& count : counts) EXPECT_EQ(count.load(), 1);
    }
  }
}

// The thread that has the first task has others behind it, which must not wait for it.
TEST(ThreadPool, TasksOfABusyThreadAreTakenByOthers) {
  constexpr int kTasks = 64;
  for (int n_threads : {2, 3}) {
    ThreadPool pool(n_threads);
    std::atomic<int> n_done{0};
    std::atomic<bool> all_others_done{false};
    pool.parallel_for(kTasks, [&](std::int64_t i, int) {
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (i == 0 && n_done.load() < kTasks - 1 && std::chrono::steady_clock::now() < give_up) {
        std::this_thread::yield();
      }
      if (i == 0) all_others_done = n_done.load() == kTasks - 1;
      n_done.fetch_add(1);
    });
    EXPECT_TRUE(all_others_done);
  }
}

// What a thread reads goes on where it was: others take from the end of what it has.
TEST(ThreadPool, OthersTakeTheLastTasksOfAThread) {
  constexpr int kTasks = 64;
  ThreadPool pool(2);
  std::vector<std::int64_t> order;  // of the thread that does not have the first task
  std::atomic<int> n_done{0};
  pool.parallel_for(kTasks, [&](std::int64_t i, int) {
    if (i != 0) order.push_back(i);
    n_done.fetch_add(1);
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (i == 0 && n_done.load() < kTasks && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::yield();
    }
  });
  std::vector<std::int64_t> expected;
  for (int i = kTasks / 2; i < kTasks; ++i) expected.push_back(i);
  for (int i = kTasks / 2 - 1; i > 0; --i) expected.push_back(i);
  EXPECT_EQ(order, expected);
}

TEST(CpuFeatures, BestIsaIsSupported) {
  EXPECT_TRUE(cpu_supports(best_isa()));
  EXPECT_TRUE(cpu_supports(Isa::kGeneric));
}

}  // namespace
}  // namespace cria

#include "llm/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>

namespace cria {
namespace {

using ::testing::HasSubstr;

// What Linux notes of the mapping at `address`: two letters a flag, "hg" for huge pages asked for.
std::string mapping_flags(const void* address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long begin, end;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      inside = begin <= wanted && wanted < end;
    } else if (inside && line.starts_with("VmFlags:")) {
      return line;
    }
  }
  return "";
}

TEST(KvCache, AsksForHugePagesUnlessItIsLarge) {
  for (const bool large : {false, true}) {
    Result<KvCache> cache = KvCache::allocate(large ? 512u << 20 : 64u << 20);
    ASSERT_TRUE(cache.ok());
    ASSERT_TRUE(cache->bind(4096, 1 << 20).ok());
    const std::string flags = mapping_flags(cache->bytes().data());
    if (flags.empty()) GTEST_SKIP() << "this system does not tell the flags of mappings";
    EXPECT_EQ(flags.find(" hg") != flags.npos, !large) << flags;
  }
}

TEST(KvCache, NothingAndTooMuchAreErrors) {
  EXPECT_EQ(KvCache::allocate(0).status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(KvCache::allocate(std::numeric_limits<std::uint64_t>::max() / 2).status().code(),
            ErrorCode::kOutOfResources);
}

TEST(KvCache, HoldsAsManyPositionsAsFit) {
  Result<KvCache> cache = KvCache::allocate(1000);
  ASSERT_TRUE(cache.ok());
  EXPECT_EQ(cache->n_ctx(), 0);
  ASSERT_TRUE(cache->bind(64, 100).ok());
  EXPECT_EQ(cache->n_ctx(), 15);
  EXPECT_EQ(cache->bytes().size(), 15u * 64);
  ASSERT_TRUE(cache->bind(64, 10).ok());
  EXPECT_EQ(cache->n_ctx(), 10) << "never more than the model can use";
}

TEST(KvCache, TooSmallForOnePosition) {
  Result<KvCache> cache = KvCache::allocate(63);
  ASSERT_TRUE(cache.ok());
  Status status = cache->bind(64, 100);
  EXPECT_EQ(status.code(), ErrorCode::kOutOfResources);
  EXPECT_THAT(status.message(), HasSubstr("64"));
}

TEST(KvCache, RefusesAnotherModelWhileItHoldsTokens) {
  Result<KvCache> cache = KvCache::allocate(1024);
  ASSERT_TRUE(cache.ok());
  ASSERT_TRUE(cache->bind(64, 100).ok());
  cache->advance(1);
  EXPECT_TRUE(cache->bind(64, 100).ok());
  EXPECT_EQ(cache->bind(32, 100).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(cache->bind(64, 8).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(cache->n_ctx(), 16);
  cache->reset();
  EXPECT_TRUE(cache->bind(32, 100).ok());
  EXPECT_EQ(cache->bind(0, 100).code(), ErrorCode::kInvalidArgument);
}

TEST(KvCache, RewindsToPositionsItHolds) {
  Result<KvCache> cache = KvCache::allocate(1024);
  ASSERT_TRUE(cache.ok());
  ASSERT_TRUE(cache->bind(64, 100).ok());
  cache->advance(5);
  EXPECT_EQ(cache->rewind(6).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(cache->rewind(-1).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(cache->position(), 5);
  ASSERT_TRUE(cache->rewind(2).ok());
  EXPECT_EQ(cache->position(), 2);
  EXPECT_EQ(cache->remaining(), 14);
}

TEST(KvCache, WipeLeavesNoByte) {
  Result<KvCache> cache = KvCache::allocate(1024);
  ASSERT_TRUE(cache.ok());
  ASSERT_TRUE(cache->bind(64, 100).ok());
  std::ranges::fill(cache->bytes(), std::byte{7});
  cache->advance(3);
  cache->wipe();
  EXPECT_EQ(cache->position(), 0);
  EXPECT_TRUE(std::ranges::all_of(cache->bytes(), [](std::byte b) { return b == std::byte{}; }));
}

}  // namespace
}  // namespace cria

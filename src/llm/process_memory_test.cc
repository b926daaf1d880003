#include "llm/process_memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace cria {
namespace {

TEST(ProcessMemory, ReadsTheTwoFields) {
  const ProcessMemory memory = parse_process_status(
      "Name:\tcria\nVmRSS:\t   999 kB\nRssAnon:\t    1234 kB\nRssFile:\t       5 kB\n");
  EXPECT_EQ(memory.rss_anon_bytes, 1234u * 1024);
  EXPECT_EQ(memory.rss_file_bytes, 5u * 1024);
}

TEST(ProcessMemory, MissingOrCutFieldsAreZero) {
  EXPECT_EQ(parse_process_status("").rss_anon_bytes, 0u);
  EXPECT_EQ(parse_process_status("RssAnon:").rss_anon_bytes, 0u);
  EXPECT_EQ(parse_process_status("RssAnon:  \nRssFile: x").rss_file_bytes, 0u);
}

TEST(ProcessMemory, TouchedMemoryIsCounted) {
  constexpr std::size_t kBytes = 64 << 20;
  const ProcessMemory before = process_memory();
  if (before.rss_anon_bytes == 0) GTEST_SKIP() << "this system does not tell a process's memory";
  std::vector<char> block(kBytes, 1);
  EXPECT_GE(process_memory().rss_anon_bytes, before.rss_anon_bytes + kBytes / 2) << block[7];
}

}  // namespace
}  // namespace cria

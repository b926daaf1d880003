#include "runtime/delegate_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace cria {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

int available() { return 1; }
int init(const cria_host*, cria_bytes, const cria_option*, size_t, void**) { return 0; }
int execute(void*, cria_tensor*, size_t) { return 0; }
void destroy(void*) {}

cria_delegate table(const char* name) {
  return {CRIA_DELEGATE_ABI_VERSION, name, available, init, execute, destroy};
}

TEST(DelegateRegistry, FindsWhatWasAdded) {
  const cria_delegate a = table("A"), b = table("B");
  DelegateRegistry registry;
  ASSERT_TRUE(registry.add(&b).ok());
  ASSERT_TRUE(registry.add(&a).ok());
  EXPECT_THAT(registry.names(), ElementsAre("A", "B"));
  Result<const cria_delegate*> found = registry.find("B");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, &b);
}

TEST(DelegateRegistry, AMissingNameListsTheOthers) {
  const cria_delegate a = table("A"), b = table("B");
  DelegateRegistry registry;
  EXPECT_THAT(registry.find("C").status().message(), HasSubstr("none"));
  ASSERT_TRUE(registry.add(&a).ok());
  ASSERT_TRUE(registry.add(&b).ok());
  Result<const cria_delegate*> found = registry.find("C");
  EXPECT_EQ(found.status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(found.status().message(), HasSubstr("A, B"));
}

TEST(DelegateRegistry, RefusesAnotherInterfaceVersion) {
  cria_delegate a = table("A");
  a.abi_version = CRIA_DELEGATE_ABI_VERSION + 1;
  DelegateRegistry registry;
  EXPECT_EQ(registry.add(&a).code(), ErrorCode::kUnsupported);
  EXPECT_TRUE(registry.names().empty());
}

TEST(DelegateRegistry, RefusesIncompleteTables) {
  DelegateRegistry registry;
  EXPECT_EQ(registry.add(nullptr).code(), ErrorCode::kInvalidArgument);
  std::vector<cria_delegate> tables(6, table("A"));
  tables[0].name = nullptr;
  tables[1].name = "";
  tables[2].is_available = nullptr;
  tables[3].init = nullptr;
  tables[4].execute = nullptr;
  tables[5].destroy = nullptr;
  for (const cria_delegate& incomplete : tables) {
    EXPECT_EQ(registry.add(&incomplete).code(), ErrorCode::kInvalidArgument);
  }
  EXPECT_TRUE(registry.names().empty());
}

TEST(DelegateRegistry, RefusesANameTwice) {
  const cria_delegate a = table("A"), again = table("A");
  DelegateRegistry registry;
  ASSERT_TRUE(registry.add(&a).ok());
  EXPECT_EQ(registry.add(&again).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(*registry.find("A"), &a);
}

TEST(DelegateRegistry, MayBeUsedFromSeveralThreads) {
  const char* names[] = {"A", "B", "C", "D"};
  std::vector<cria_delegate> tables;
  for (const char* name : names) tables.push_back(table(name));
  DelegateRegistry registry;
  std::vector<std::thread> threads;
  for (const cria_delegate& one : tables) {
    threads.emplace_back([&registry, &one] {
      EXPECT_TRUE(registry.add(&one).ok());
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(registry.find(one.name).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(registry.names(), ElementsAre("A", "B", "C", "D"));
}

}  // namespace
}  // namespace cria
